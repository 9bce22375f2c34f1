"""What is run on a disk: the loads, fio, and a client that knows each completion."""
