"""What `data check` found, as lines for a person."""

from __future__ import annotations

from typing import Any

MOST_LABELS = 12
_CUT = 300


def page(report: dict[str, Any]) -> str:
    """The report as lines for a person."""
    counts = f"{report['examples']:,} {report['reads']}, {report['duplicates']:,} of them repeat others"
    lines = [report["place"], f"  {counts}"]
    lines += [f"  {name:<12} {say_field(found)}" for name, found in report["fields"].items()]
    if report["labels"]:
        lines.append(f"  {len(report['labels'])} labels".ljust(15) + say_labels(report["labels"]))
    if "tokens" in report:
        rows = f"in {report['rows']:,} rows of {say_spread(report['tokens'], 'tokens')}"
        lines.append(f"  {'usable':<12} {report['usable']:,}, {rows}")
    elif "usable" in report:
        lines.append(f"  {'usable':<12} {report['usable']:,}")
    for row in report["shown"]:
        lines += ["", *say_row(row)]
    if report["bad_count"]:
        lines += ["", f"{report['bad_count']:,} bad:", *(f"  {visible(line)}" for line in report["bad"])]
        more = report["bad_count"] - len(report["bad"])
        lines += [f"  and {more:,} more"] if more else []
    return "\n".join(lines)


def say_field(found: dict[str, Any]) -> str:
    """How many have a field, and how long it is."""
    said = [f"{found['present']:,}"] + ([f"{found['empty']:,} empty"] if found["empty"] else [])
    said += [say_spread(found[unit], unit) for unit in ("characters", "items") if unit in found]
    return " · ".join(said)


def say_spread(found: dict[str, float], unit: str) -> str:
    """``3 to 268 characters, half up to 102, 95 % up to 200``"""
    if not found:
        return f"no {unit}"
    middle = f"half up to {found['median']:,g}, 95 % up to {found['95%']:,g}"
    return f"{found['min']:,} to {found['max']:,} {unit}, {middle}"


def say_labels(counts: dict[str, int]) -> str:
    """The common labels with their counts."""
    said = [f"{name} {count:,}" for name, count in list(counts.items())[:MOST_LABELS]]
    return " · ".join(said) + (f" · and {len(counts) - MOST_LABELS} more" if len(counts) > MOST_LABELS else "")


def say_row(row: dict[str, Any]) -> list[str]:
    """One example: its place, and what is in it; tokens are set apart, those with a label followed by it."""
    labels = dict(row.get("labels", {}))
    lines = [row["place"]]
    for part in ("tokens", "target"):
        if part in row:
            beside = next((name for name, value in labels.items() if fits(value, row, part)), None)
            lines.append(cut(f"  {part:<8} {say_tokens(row[part], labels.pop(beside) if beside else None)}"))
    lines += [cut(f"  {name:<8} {value}") for name, value in {**row.get("fields", {}), **labels}.items()]
    return lines


def fits(value: Any, row: dict[str, Any], part: str) -> bool:
    """Whether labels are one each for the tokens of this part: those of the target, where there is one."""
    return (
        isinstance(value, list) and len(value) == len(row[part]) and part == ("target" if "target" in row else "tokens")
    )


def say_tokens(tokens: list[str], labels: list[str | None] | None) -> str:
    """Tokens with bars between, line breaks made visible; ``→`` stands before the label of a token."""
    named = [
        f"{token} → {label}" if label is not None else token
        for token, label in zip(tokens, labels or [None] * len(tokens), strict=True)
    ]
    return "|".join(named).replace("\n", "⏎")


def cut(line: str) -> str:
    """A line of bearable length."""
    whole = visible(line)
    return whole if len(whole) <= _CUT else f"{whole[:_CUT]} ..."


def visible(text: str) -> str:
    """Without the characters that would move a cursor or colour a terminal."""
    return "".join(sign if sign.isprintable() else "·" for sign in text)
