"""Results of ``vllm bench serve --save-result``.

One JSON object a run, or one a line where results were appended; what was given with
``--metadata key=value`` stands beside the figures and is read if it names a column of the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.importers.client_json import (
    is_serving_result,
    mean_lengths,
    read_serving_result,
)
from calibration.importers.results import set_mean_lengths
from workloads.errors import UserError

if TYPE_CHECKING:
    from typing import Any

    from calibration.importers.results import BenchmarkResult, RunRecord

MOST_DRAFTS = 1000
"""Draft tokens of a step beyond which a file's counters are wrong. [tokens]"""


def is_vllm_result(data: dict[str, Any]) -> bool:
    """Whether a JSON object is a result of vLLM's client."""
    return is_serving_result(data) and "best_of" not in data


def read_vllm_result(result: BenchmarkResult) -> RunRecord:
    """The run of a vLLM client result.

    Nominal lengths are not in the file: the means stand in. Speculation statistics, which newer
    clients read from the server, give drafts and acceptance length.

    Raises
    ------
    UserError
        If the load was not a closed loop or a field is no number.
    """
    record = read_serving_result(result)
    record.stated = result.data
    isl, osl = mean_lengths(result)
    set_mean_lengths(record, isl=isl, osl=osl, drawn=not _equal_lengths(result))
    acceptance_length = result.number("spec_decode_acceptance_length")
    if acceptance_length is not None:
        record.fields["acceptance_length"] = acceptance_length
        steps = result.number("spec_decode_num_drafts")
        drafted = result.number("spec_decode_draft_tokens")
        if steps and drafted:
            drafts = drafted / steps
            if not 0 < drafts < MOST_DRAFTS:
                raise UserError(
                    f"spec_decode_draft_tokens over spec_decode_num_drafts is {drafts:g}; drafts "
                    f"of a step must lie between 0 and {MOST_DRAFTS}"
                )
            record.fields["drafts"] = round(drafts)
    return record


def _equal_lengths(result: BenchmarkResult) -> bool:
    lengths = [result.data.get(name) for name in ("input_lens", "output_lens")]
    return all(
        isinstance(values, list) and values and values.count(values[0]) == len(values)
        for values in lengths
    )
