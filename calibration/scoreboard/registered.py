"""Predictions that are written down before anyone measures.

``python -m calibration.scoreboard.registered predictions/2026-12`` answers the questions of
``panel.yaml`` with bands, version, date and assumptions, one file a chip, and notes the digest of
each file. A folder that has digests is never written again; `check_unchanged` tells if a file was
altered since. `calibration.scoreboard.registered_page` shows all that is registered.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from calibration.command_line import run_main
from hwmodels.sku import list_skus, load_sku
from simulator.output.text_file import write_text
from simulator.version import version
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError

PANEL = Path(__file__).with_name("panel.yaml")
DIGESTS = "DIGESTS"
FIGURES = (
    *("label", "concurrency", "total_tput_per_gpu", "median_tpot_s", "median_ttft_s"),
    *(
        f"{name}_{end}"
        for name in ("total_tput_per_gpu", "median_tpot_s", "median_ttft_s")
        for end in ("lo", "hi")
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One registered question with its answer.

    Parameters
    ----------
    question:
        Settings of the question.
    points:
        Figures of each concurrency, SI units; none where the product refused.
    caption, kind:
        What was simulated, and what it rests on.
    assumptions:
        What was assumed, or why it was refused.
    date, version:
        When it was registered, and by what.
    file:
        Where it stands.
    """

    question: dict[str, Any]
    points: list[dict[str, Any]]
    caption: str
    kind: str
    assumptions: tuple[str, ...]
    date: str
    version: str
    file: Path


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """A question's answer as the product gives it today; a refusal is an answer too."""
    import simulator

    settings = {key: value for key, value in question.items() if key != "id"}
    settings["concurrency"] = tuple(settings["concurrency"])
    try:
        curve = simulator.curve(**settings)
    except UserError as error:
        return {"question": question, "refused": str(error)}
    frame = curve.frame()
    points = [
        {name: _plain(row[name]) for name in FIGURES if name in row}
        for row in frame.to_dict("records")
    ]
    return {
        "question": question,
        "caption": curve.caption,
        "kind": str(frame["kind"].iloc[0]) if len(frame) else "",
        "assumptions": list(curve.result.messages),
        "points": points,
    }


def register(folder: Path, *, today: dt.date | None = None) -> list[Path]:
    """Answer the panel and write one file a chip, and the digests.

    Raises
    ------
    UserError
        If the folder holds registered predictions already.
    """
    if (folder / DIGESTS).exists():
        raise UserError(f"{folder} holds registered predictions, which are never changed")
    folder.mkdir(parents=True, exist_ok=True)
    by_chip: dict[str, list[dict[str, Any]]] = {}
    known = list_skus()
    for question in read_yaml_mapping(PANEL)["questions"]:
        if question["sku"] not in known:
            continue
        by_chip.setdefault(question["sku"], []).append(answer(question))
    paths = []
    for chip, answers in by_chip.items():
        path = folder / f"{chip}.yaml"
        head = {
            "registered": (today or dt.date.today()).isoformat(),
            "forecurve": version(),
            "units": "SI; throughput per chip, prompts included [tok/s]",
        }
        text = yaml.safe_dump({**head, "answers": answers}, sort_keys=False, width=100)
        write_text(path, text)
        paths.append(path)
    lines = [f"{_digest(path)}  {path.name}\n" for path in sorted(paths)]
    write_text(folder / DIGESTS, "".join(lines))
    return paths


def unanswered() -> dict[str, str]:
    """Questions of the panel about chips that are not in the catalogue, and why."""
    found = {}
    for question in read_yaml_mapping(PANEL)["questions"]:
        try:
            load_sku(question["sku"])
        except UserError as error:
            found[question["id"]] = str(error)
    return found


def check_unchanged(folder: Path) -> list[str]:
    """Files of a registered folder that are missing or not as they were registered."""
    wrong = []
    for line in (folder / DIGESTS).read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        path = folder / name
        if not path.exists():
            wrong.append(f"{name} is missing")
        elif _digest(path) != digest:
            wrong.append(f"{name} was changed after it was registered")
    return wrong


def registered(root: Path) -> list[Registered]:
    """All registered answers below a folder, refusals among them."""
    found = []
    for digests in sorted(root.glob(f"*/{DIGESTS}")):
        for path in sorted(digests.parent.glob("*.yaml")):
            data = read_yaml_mapping(path)
            found += [
                Registered(
                    question=each["question"],
                    points=each.get("points", []),
                    caption=each.get("caption", ""),
                    kind=each.get("kind", ""),
                    assumptions=tuple(each.get("assumptions", [each.get("refused")])),
                    date=str(data["registered"]),
                    version=str(data["forecurve"]),
                    file=path,
                )
                for each in data["answers"]
            ]
    return found


def _plain(value: Any) -> Any:
    """A figure as YAML writes it, with six significant digits."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return None if value != value else float(f"{value:.6g}")
    return value


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Register the panel in the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.scoreboard.registered")
    parser.add_argument("folder", type=Path, help="such as predictions/2026-12")
    for path in register(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    run_main(main)
