"""Sockets: listeners, connections, pools, TLS, log files and the reactor."""
