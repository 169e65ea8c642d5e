"""What the tests stand on: servers, a proxy that breaks connections, and the list of backends."""
