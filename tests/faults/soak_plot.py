"""Draws a soak's series."""

from pathlib import Path

_PANELS = (
    ("resident memory (MB)", "rss_mb"),
    ("of it anonymous (MB)", "anonymous_mb"),
    ("open files", "files"),
    ("Redis memory (MB)", "used_memory_mb"),
    ("Redis keys", "redis keys"),
    ("append-only file (MB)", "aof_mb"),
    ("uploads at rest", "uploads"),
    ("queue length", "queue_length"),
)


def plot(samples: list[dict[str, float]], path: Path) -> None:
    """Writes a PNG with one panel for each kind of gauge; takes matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [row["at_s"] / 60 for row in samples]
    figure, axes = pyplot.subplots(len(_PANELS), 1, sharex=True, figsize=(9, 2.2 * len(_PANELS)))
    for axis, (title, suffix) in zip(axes, _PANELS, strict=True):
        names = [name for name in samples[0] if name.endswith(suffix)]
        for name in names:
            label = name.removesuffix(suffix).strip()
            axis.plot(minutes, [row[name] for row in samples], linewidth=0.9, label=label)
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_ylim(bottom=0)
        if len(names) > 1:
            axis.legend(fontsize=6, ncols=2)
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
