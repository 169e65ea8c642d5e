"""What the original wrote is read, what it would have written is written, pushed equals unpushed."""
