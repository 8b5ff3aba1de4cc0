"""`nfbench check`."""

from __future__ import annotations

from nfbench.harness.errors import NfbenchError
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.registry import method_spec, registry
from nfbench.harness.runner import choose_device


def check_target(target: str, device: str) -> None:
    """Run the contract on a method, or read a protocol, and print what holds.

    Raises:
        NfbenchError: a clause is not kept.
    """
    if target.endswith(".toml") or target in registry().protocols:
        read = find_protocol(target)
        print(f"ok  {read.id} is a sound protocol with columns {', '.join(read.columns())}.")
        return
    from nfbench.harness.checks import check_method

    findings = check_method(method_spec(target), choose_device(device))
    for finding in findings:
        print(f"{'ok' if finding.kept else '--'}  {finding.clause}{'' if finding.kept else ': ' + finding.why}")
    broken = [finding for finding in findings if not finding.kept]
    if broken:
        raise NfbenchError(f"{target} breaks {len(broken)} of {len(findings)} clauses of the contract.")
    print(f"{target} keeps all {len(findings)} clauses of the contract.")
