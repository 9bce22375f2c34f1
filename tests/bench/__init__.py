"""The benchmarks: this system and its peers under the same load, and what it costs.

    command/    the command line, and what is checked before anything is measured
    catalogue   all of them: what each measures, with which settings
    measure/    the benchmarks themselves, one a file
    report/     findings and goals; JSON, tables, plots, the page of the docs
    peers/      who is measured: this system, QEMU's replication, plain NBD servers
    load/       what is run on a disk, and the clients that run it
    guard/      operation counts of the hot paths, a test of every run

Each imports only those below it. Ratios within one run are what counts: absolute
numbers are the machine's.
"""
