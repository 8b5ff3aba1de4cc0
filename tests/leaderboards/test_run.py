def test_scores_that_cannot_be_read_or_disagree_are_told(put, only, tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        put(name, {"psnr": [20, 22]})
    (tmp_path / "t/x/b/a/0-h1/scores.parquet").write_bytes(b"no parquet")
    (tmp_path / "t/x/c/a/0-h1/scores.parquet").unlink()
    record = tmp_path / "t/x/d/a/0-h1/record.json"
    record.write_text(record.read_text().replace('"mean": 21.0', '"mean": 99.0'))
    found = only()
    assert len(found.rows) == 5
    told = "\n".join(found.problems)
    assert "b/a/0-h1/scores.parquet cannot be read" in told
    assert "c/a/0-h1/scores.parquet has no items of psnr" in told
    assert "record.json has psnr 99, the items' mean is 21" in told
    by_name = {row.name: row for row in found.rows}
    assert by_name["a"].items("psnr") == by_name["e"].items("psnr") == {("a", "v0"): 20, ("a", "v1"): 22}


def test_folders_with_glob_characters_keep_their_items(put, only):
    put("m[1]*k=v", {"psnr": [20, 22]})
    assert len(only().rows[0].items("psnr")) == 2


def test_the_newest_of_two_equal_runs_counts(put, only):
    folder = put("m", {"psnr": [20]}, created="2024-01-01T00:00:00+00:00")
    folder.rename(folder.with_name("copy"))
    put("m", {"psnr": [25]}, created="2025-01-01T00:00:00+00:00")
    found = only()
    assert found.rows[0].values["psnr"].mean == 25
    assert "copy is an older run" in found.problems[0]
