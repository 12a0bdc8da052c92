import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.serving.records import (
    COLUMNS,
    Records,
    RecordWriter,
    iter_records,
    read_records,
    write_records,
)
from workloads.errors import UserError


def make(count, *, first=0, **changes):
    index = np.arange(first, first + count)
    columns = {
        "request": index,
        "worker": index % 3,
        "rank": index % 8,
        "arrival_s": index * 0.5,
        "scheduled_s": index * 0.5 + 0.1,
        "first_token_s": index * 0.5 + 0.4,
        "finish_s": index * 0.5 + 2.4,
        "prompt_tokens": np.full(count, 100),
        "output_tokens": np.full(count, 11),
        "cached_tokens": np.zeros(count),
        "loaded_tokens": np.zeros(count),
        "drive_tokens": np.zeros(count),
        "preemptions": np.zeros(count),
        "accepted_drafts": np.full(count, 4),
    }
    return Records.from_columns(columns | changes)


def assert_same(first, second):
    for name in Records.names:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_derived_times():
    records = make(3)
    np.testing.assert_allclose(records.queue_s, 0.1)
    np.testing.assert_allclose(records.ttft_s, 0.4)
    np.testing.assert_allclose(records.e2el_s, 2.4)
    # (latency - TTFT) / (output_tokens - 1)
    np.testing.assert_allclose(records.tpot_s, 0.2)


def test_a_single_output_token_has_no_tpot():
    records = make(2, output_tokens=[1, 11], finish_s=[0.4, 2.9])
    assert np.isnan(records.tpot_s[0])
    assert records.tpot_s[1] == pytest.approx(0.2)


def test_unfinished_requests_are_told_by_their_finish():
    records = make(2, finish_s=[np.nan, 3.0], first_token_s=[np.nan, 1.0])
    assert records.finished.tolist() == [False, True]
    assert len(records.select(records.finished)) == 1


def test_columns_must_be_complete_and_equally_long():
    with pytest.raises(ValueError, match=r"missing: .*finish_s"):
        Records.from_columns({"request": [1]})
    with pytest.raises(ValueError, match="differ in length"):
        make(3, worker=[0, 1])


def test_chunks_survive_parquet(tmp_path):
    path = tmp_path / "requests.parquet"
    with RecordWriter(path, metadata={"seed": "7"}) as writer:
        writer.write(make(10))
        writer.write(make(4, first=10))
    assert writer.rows == 14
    assert_same(read_records(path), make(14))
    assert [len(chunk) for chunk in iter_records(path)] == [10, 4]


def test_the_file_explains_itself(tmp_path):
    path = tmp_path / "requests.parquet"
    write_records(path, make(5), metadata={"version": "1.2"})
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    assert schema.metadata[b"kind"] == b"simulated"
    assert schema.metadata[b"version"] == b"1.2"
    assert schema.names == [column.name for column in COLUMNS]
    assert schema.field("arrival_s").metadata[b"unit"] == b"s"
    assert all(schema.field(column.name).metadata[b"description"] for column in COLUMNS)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_same_records_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_records(tmp_path / name, make(1000))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_records(tmp_path / "no" / "such" / "folder.parquet", make(1))
    with pytest.raises(UserError, match="cannot be read"):
        read_records(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(UserError, match="cannot be read"):
        read_records(tmp_path / "text.parquet")


def test_another_table_is_not_a_record_file(tmp_path):
    import pyarrow as pa

    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"request": [1, 2]}), path)
    with pytest.raises(UserError, match="lacks the record columns worker"):
        read_records(path)


def test_importing_results_code_stays_light():
    code = (
        "import sys, simulator.serving.records, simulator.analysis.metrics;"
        "import simulator.analysis.pareto, simulator.analysis.statistics;"
        "import simulator.serving.chrome_trace;"
        "print([m for m in ('pandas', 'pyarrow', 'scipy', 'matplotlib', 'pydantic', 'simpy')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
