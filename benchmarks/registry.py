"""Every measurement by name. To add one: a module with a measure function, a line here."""

from __future__ import annotations

from benchmarks import (
    Benchmark,
    coverage,
    damage,
    demo,
    evaluate_page,
    factors,
    fusion,
    hallucination,
    kill,
    leaks,
    load,
    masks,
    multivae_speed,
    parity,
    prepare,
    quality,
    queue,
    read,
    real,
    register,
    results,
    rounds,
    scale,
    server,
    train_overhead,
    verdicts,
)

BENCHMARKS: dict[str, Benchmark] = {
    "demo": Benchmark("seconds to generate the demo cohort", demo.measure_demo, demo.TARGETS),
    "server": Benchmark("how quickly pages and slices come", server.measure_server, server.TARGETS),
    "evaluate_page": Benchmark(
        "how soon Evaluate opens with fifty runs", evaluate_page.measure_evaluate_page, evaluate_page.TARGETS
    ),
    "read": Benchmark("reading beside SimpleITK", read.measure_read, read.TARGETS),
    "damage": Benchmark(
        "how much damage to compressed frames is noticed", damage.measure_damage, damage.TARGETS, is_quick=False
    ),
    "prepare": Benchmark(
        "seconds a case of preparing real brains", prepare.measure_prepare, prepare.TARGETS, is_quick=False
    ),
    "register": Benchmark(
        "how exactly images pushed apart come back", register.measure_register, register.TARGETS, is_quick=False
    ),
    "verdicts": Benchmark(
        "what the alignment check says of known shifts",
        verdicts.measure_verdicts,
        verdicts.TARGETS,
        is_quick=False,
        table=verdicts.table,
    ),
    "masks": Benchmark(
        "masks, tissues and faces beside generated people's truth",
        masks.measure_masks,
        masks.TARGETS,
        False,
        masks.table,
    ),
    "rounds": Benchmark(
        "whether the server's memory stays when a visitor sees everything again",
        rounds.measure_rounds,
        rounds.TARGETS,
        is_quick=False,
    ),
    "leaks": Benchmark(
        "planted leaks that are found, clean splits that are not accused", leaks.measure_leaks, leaks.TARGETS, False
    ),
    "coverage": Benchmark(
        "whether 90 % error bars hold, by voxel, tissue and case", coverage.measure_coverage, coverage.TARGETS, False
    ),
    "hallucination": Benchmark(
        "whether structures that a model invents are flagged",
        hallucination.measure_hallucination,
        hallucination.TARGETS,
        is_quick=False,
    ),
    "kill": Benchmark(
        "SIGKILLs at random moments: lost, stuck, twice", kill.measure_kill, kill.TARGETS, is_quick=False
    ),
    "load": Benchmark(
        "thirty visitors at once: pages, errors, memory", load.measure_load, load.TARGETS, is_quick=False
    ),
    "queue": Benchmark(
        "from Start to the first step, and tiny runs in a row", queue.measure_queue, queue.TARGETS, is_quick=False
    ),
    "quality": Benchmark(
        "which model makes the better image in the same time", quality.measure_quality, quality.TARGETS, is_quick=False
    ),
    "factors": Benchmark(
        "which true factors can be read from whose code", factors.measure_factors, is_quick=False, table=factors.table
    ),
    "fusion": Benchmark(
        "whether what modalities share helps: five claims", fusion.measure_fusion, is_quick=False, table=fusion.table
    ),
    "parity": Benchmark(
        "our multimodal VAEs beside those of the library multivae",
        parity.measure_parity,
        parity.TARGETS,
        False,
        parity.table,
    ),
    "multivae": Benchmark(
        "images a second of our training loop beside multivae's",
        multivae_speed.measure_multivae,
        multivae_speed.TARGETS,
        is_quick=False,
    ),
    "real": Benchmark("T1 -> T2 on real brains, one patient left out", real.measure_real, real.TARGETS, is_quick=False),
    "results": Benchmark(
        "the arena on the demo and on real patients: writes docs/results.md", results.measure_results, is_quick=False
    ),
    "train_overhead": Benchmark(
        "our training loop beside a bare PyTorch loop",
        train_overhead.measure_train_overhead,
        train_overhead.TARGETS,
        is_quick=False,
    ),
    "scale": Benchmark(
        "memory and time of a training on ten times the data", scale.measure_scale, scale.TARGETS, is_quick=False
    ),
}
