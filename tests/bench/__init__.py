"""The benchmark: this system and its peers under the same load, side by side.

    loads      what is run
    fio        the client that runs it
    peer       what a peer must offer; how its processes live
    pair, qemu_replication, unreplicated    the peers
    compare    the run: peers interleaved, repeated, and then checked
    results    medians, ratios, goals
    report     the table, the JSON file and the plot

Ratios within one run are what counts: absolute numbers are the machine's.
"""
