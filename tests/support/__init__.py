"""What the tests of whole processes share: ports, certificates, processes, origins, clients."""
