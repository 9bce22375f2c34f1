"""The primary: serves the VM disk over NBD and forwards its writes."""
