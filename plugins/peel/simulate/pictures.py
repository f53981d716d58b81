"""Pictures of a delivered force: strength, shares and funnel, with the published points they are held against."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peel.errors import ConfigurationError
from peel.simulate import tables as t
from peel.simulate.calibration import Force, last_day
from peel.simulate.write import SEQUENCE

if TYPE_CHECKING:
    import pandas as pd

_INK, _PALE = "#1b2a41", "#9aa5b1"
_LINES = ("#0b5394", "#b45f06", "#38761d", "#741b47")
_ERAS = (("2014, SEARCH", "2014"), ("2019, Day One", "2019"), ("2023, online", "2023"))


def draw(target: Path, night: dt.date, into: Path) -> list[Path]:
    """Draw a delivered night.

    Args:
        target: the folder of feeds.
        night: business date of the newest delivery in it.
        into: folder of the pictures.

    Returns:
        The files written, as PNG.

    Raises:
        ConfigurationError: matplotlib is not installed; it is a tool of development only.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigurationError(
            "pictures of the force need matplotlib, which is a tool of development.",
            do="Make the development environment: `make test-fast` does.",
        ) from None
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    mpl.rcParams["axes.axisbelow"] = True
    mpl.rcParams.update({"grid.color": "#e4e7eb", "axes.edgecolor": _PALE, "text.color": _INK, "figure.dpi": 110})
    into.mkdir(parents=True, exist_ok=True)
    force = Force(target, night)
    return [
        _strength(force, night, into / "strength.png"),
        _shares(force, night, into / "shares.png"),
        _funnel(target, into / "funnel.png"),
    ]


def _months(first: dt.date, last: dt.date) -> list[Any]:
    ends = [last_day(year, month) for year in range(first.year, last.year + 1) for month in range(1, 13)]
    return [end for end in ends if first <= end <= last]


def _strength(force: Force, night: dt.date, file: Path) -> Path:
    from matplotlib import pyplot as plt

    groups = (("OFF", "Officers"), ("STAFF_DESIG", "Staff and designated officers"), ("PCSO", "PCSOs"))
    months = _months(dt.date(2012, 4, 1), night)
    figure, axes = plt.subplots(3, 1, figsize=(9, 9), sharex=True)
    for axis, (series, title), colour in zip(axes, groups, _LINES, strict=False):
        axis.plot(months, [force.fte(series, day) for day in months], color=colour, label="simulated FTE")
        rows = [row for row in t.rows("strength") if row["series"] == series and row["status"] == "published"]
        days = [last_day(*map(int, row["as_at"].split("-"))) for row in rows]
        points: list[tuple[Any, float]] = [
            (day, float(row["value"])) for day, row in zip(days, rows, strict=True) if day <= night
        ]
        axis.scatter(*zip(*points, strict=True), s=12, color=_INK, zorder=3, label="published")
        low, high = min(points)[0], max(points)[0]
        for start, end in ((months[0], low), (high, months[-1])):
            axis.axvspan(start, end, color="#f1f3f5", zorder=0)
        axis.set_title(title, loc="left")
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False, loc="lower right")
    figure.suptitle("Strength by month; grey: outside the published series", x=0.02, ha="left")
    return _saved(figure, file)


def _shares(force: Force, night: dt.date, file: Path) -> Path:
    from matplotlib import pyplot as plt

    measures = (("women_share", "Women"), ("minority_share", "Ethnic minority"), ("black_share", "Black"))
    months = _months(dt.date(2012, 4, 1), night)[::3]
    figure, axis = plt.subplots(figsize=(9, 5.5))
    for (measure, name), colour in zip(measures, _LINES, strict=False):
        shares = []
        for day in months:
            people = force.serving("OFF", day.isoformat()).person_id
            shares.append(100 * float(force.of(measure, people, day.isoformat()).mean()))
        axis.plot(months, shares, color=colour, label=name)
        for row in t.rows("published"):
            point: Any = dt.date.fromisoformat(row["to_day"])
            if (row["measure"], row["group_code"], row["segment"]) == (measure, "OFF", "") and point <= night:
                axis.scatter([point], [float(row["value"])], color=colour, edgecolor=_INK, zorder=3)
    axis.set_title("Officers by what they declared, percent of all; dots are published", loc="left")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, loc="upper left")
    return _saved(figure, file)


def _funnel(target: Path, file: Path) -> Path:
    from matplotlib import pyplot as plt

    applications, events, candidates = (
        _latest(target, name, key)
        for name, key in (
            ("ats_application", "application_id"),
            ("ats_stage_event", "event_id"),
            ("ats_candidate", "candidate_id"),
        )
    )
    officers = applications[applications.workforce_group == "OFF"].join(
        candidates.set_index("candidate_id").ethnicity_code, on="candidate_id"
    )
    white = officers.ethnicity_code.str.startswith("W")
    stated = officers.ethnicity_code.str.fullmatch("[A-Z][0-9]")
    passed = events[events.outcome == "PASS"]
    figure, axes = plt.subplots(1, len(_ERAS), figsize=(12, 5), sharex=True)
    for axis, (title, year) in zip(axes, _ERAS, strict=True):
        of_year = officers.applied_ts.str.startswith(year)
        for offset, (name, chosen, colour) in enumerate(
            (("White", white, _PALE), ("ethnic minority", ~white & stated, _LINES[0]))
        ):
            ids = set(officers[of_year & chosen].application_id)
            reached = passed[passed.application_id.isin(ids)].groupby("stage_code").application_id.nunique()
            stages = [stage for stage in t.STAGES if stage in reached.index]
            shares = [100 * reached[stage] / max(len(ids), 1) for stage in stages]
            places = [t.STAGES.index(stage) + 0.4 * offset for stage in stages]
            axis.barh(places, shares, height=0.38, color=colour, label=f"{name}, {len(ids):,} applications")
        axis.set_yticks([n + 0.2 for n in range(len(t.STAGES))], t.STAGES)
        axis.invert_yaxis()
        axis.set_title(title, loc="left")
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(-0.05, -0.08), fontsize=9)
    figure.suptitle("Officer applications: percent that passed each stage, by era", x=0.02, ha="left")
    return _saved(figure, file)


def _latest(target: Path, table: str, key: str) -> pd.DataFrame:
    """Every row of the recruitment feed's deliveries, as it was delivered last."""
    import pandas as pd

    files = sorted((target / "recruitment").glob(f"*/{SEQUENCE}/{table}_*.csv"))
    parts = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in files]
    return pd.concat(parts).drop_duplicates(key, keep="last")


def _saved(figure: Any, file: Path) -> Path:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
    return file
