"""The signed report of a recall: PDF and CSV, and a note in which the log's key signs the hashes of both.

The note's text (C2SP signed-note v1; its first line is no origin, so it is never taken for a checkpoint):

    suyuan/recall-report/v1
    origin <origin>
    recall <id>
    checkpoint <size> <base64 root>
    statement <entry> <hex SHA-256>
    pdf <hex SHA-256>
    csv <hex SHA-256>
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from ..ledger.note import NoteSigner
from ..trace.recall_sheets import Report
from ..trace.story import Text
from .exports import signed_csv
from .pdf import sheets_pdf
from .signed_files import REPORT_FORMAT

_THEN = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ReportFiles:
    """A report as files."""

    pdf: bytes
    csv: bytes
    note: bytes

    def archive(self, name: str, checkpoint: str, receipts: Mapping[int, str]) -> bytes:
        """All of it as one ZIP, with the checkpoint and the receipts of the statements. Equal files, equal bytes."""
        files = {f"{name}.pdf": self.pdf, f"{name}.csv": self.csv, f"{name}.note": self.note}
        files["checkpoint"] = checkpoint.encode()
        files |= {f"receipts/{index}.tlog-proof": text.encode() for index, text in sorted(receipts.items())}
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(zipfile.ZipInfo(file, _THEN), content, zipfile.ZIP_DEFLATED)
        return out.getvalue()


def report_files(report: Report, signer: NoteSigner) -> ReportFiles:
    """The report of one state of the ledger; the same state gives the same files."""
    pdf = report_pdf(report)
    csv = signed_csv(report.sheets, signer, time_ms=report.as_of_ms, asked=f"recall {report.id}")
    lines = [
        REPORT_FORMAT,
        f"origin {report.origin}",
        f"recall {report.id}",
        f"checkpoint {report.size} {report.root}",
        *(f"statement {one.index} {one.sha256}" for one in report.statements),
        f"pdf {hashlib.sha256(pdf).hexdigest()}",
        f"csv {hashlib.sha256(csv).hexdigest()}",
    ]
    text = "\n".join(lines) + "\n"
    return ReportFiles(pdf, csv, f"{text}\n{signer.sign(text)}".encode())


def report_pdf(report: Report) -> bytes:
    """The report for people."""
    lines = [
        Text(
            f"账本 {report.origin}，共 {report.size} 条，树根 {report.root}。",
            f"Log {report.origin} at size {report.size}, root {report.root}.",
        ),
        Text(
            "本报告由账本记录推算而得，随附的签名文件载有本文件的 SHA-256，由账本密钥签署。",
            "Everything here follows from records on the ledger; the note beside it names the SHA-256 of this file "
            "and is signed by the log's key.",
        ),
    ]
    if report.exercise:
        lines.insert(0, Text("演练：未停止任何流通，产品页不显示。", "An exercise: nothing was blocked or shown."))
    return sheets_pdf(report.title, lines, report.sheets, subject=f"{report.origin} {report.id}")
