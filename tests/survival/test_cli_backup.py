"""The commands `backup`, `restore` and `backups`, as an operator types them."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from running_service import COOPERATIVE, RunningService, make_settings
from suyuan.api.cli import app


def test_an_operator_backs_up_restores_and_lists(tmp_path: Path) -> None:
    service = RunningService(make_settings(tmp_path / "data"))
    service.start()
    service.register(COOPERATIVE, ["cooperative"])
    runner = CliRunner()
    made = runner.invoke(app, ["backup", str(tmp_path / "backups" / "one"), "--data", str(tmp_path / "data")])
    assert made.exit_code == 0, made.output
    service.stop()
    new = str(tmp_path / "new")
    restored = runner.invoke(app, ["restore", str(tmp_path / "backups" / "one"), "--data", new])
    assert restored.exit_code == 0, restored.output
    assert "signs nothing" in restored.output
    listed = runner.invoke(app, ["backups", str(tmp_path / "backups"), "--data", str(tmp_path / "data")])
    assert listed.exit_code == 0, listed.output
    assert "one" in listed.output
