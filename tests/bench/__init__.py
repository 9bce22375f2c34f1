"""The benchmarks: this system and its peers under the same load, and what it costs.

    catalogue     all of them: what each measures, with which settings
    compare       the peers side by side: interleaved, repeated, and then checked
    checkpoints, failover, cost, cpu, floors, scale, coordinator, cores, resync, growth,
    memory        the others, one file each

    loads, fio    what is run, and the client that runs it
    peer          what a peer must offer; how its processes live
    pair, qemu_replication, unreplicated    the peers
    write_load, gaps, simulated_nodes       what single benchmarks need

    findings      what a benchmark found: figures, grids, plots
    results       medians, ratios and goals of a comparison
    record        all that one run leaves, as JSON
    tables, plots how a record is shown
    page          the tables of docs/performance.md

    paths         operations of the hot paths, for test_operation_counts

Ratios within one run are what counts: absolute numbers are the machine's.
"""
