"""Access and error logs: files, standard streams, syslog."""
