"""The benchmarks: this system and its peers under the same load, and what it costs.

    catalogue   all of them: what each measures, with which settings
    measure/    the benchmarks themselves, one a file
    load/       what is run on a disk, and the clients that run it
    peers/      who is measured: this system, QEMU's replication, plain NBD servers
    report/     findings and goals; JSON, tables, plots, the page of the docs
    guard/      operation counts of the hot paths, a test of every run

Ratios within one run are what counts: absolute numbers are the machine's.
"""
