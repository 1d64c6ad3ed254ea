"""How to test against a guest with pytest: boot it, look at its report."""

import pytest

from ballast import boot


def test_a_storm_loses_no_page():
    run = boot("buddy storm ops=20000 seed=1", "buddy verify", options=["--mem", "64M"])
    assert run.status == 0, run.stderr
    storm = run.facts("buddy storm")
    assert storm["allocs"] > 1000
    assert storm["allocs"] == storm["frees"]
    assert run.facts("buddy verify")["verify"] == "ok"


@pytest.mark.parametrize("cpus", [1, 3])
def test_the_machine_is_the_one_asked_for(cpus):
    run = boot("getconf _NPROCESSORS_ONLN", options=["--cpus", str(cpus), "--mem", "32M"])
    assert run.output("getconf").strip().endswith(str(cpus))
    assert run.report["guest"]["cpus"] == cpus
    assert run.report["machine"]["memory_bytes"] == 32 << 20


def test_proc_texts_are_numbers_in_the_report():
    run = boot("cat /proc/meminfo", options=["--mem", "48M"])
    shown = dict(line.split(":") for line in run.output("cat /proc/meminfo").splitlines())
    assert int(shown["MemFree"].split()[0]) == run.report["guest"]["meminfo"]["MemFree"]
    free = sum(zone["free"] for zone in run.report["guest"]["zones"])
    assert free * 4 == run.report["guest"]["meminfo"]["MemFree"]


def test_failures_have_a_status_and_a_place():
    run = boot("echo fine", "nosuchcommand", "echo never")
    assert run.status == 2
    assert [each["status"] for each in run.report["commands"]] == [0, 2]
    assert run.report["exit"]["reason"] == "guest"
