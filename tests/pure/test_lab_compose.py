"""The building of images: through which proxy, and what is shown of one that failed."""

from lab.compose import failing_step, proxy_arguments

APT = """\
#5 [lab internal] load build context
#5 DONE 0.0s

#6 [lab python 2/3] RUN apt-get update && apt-get install python3
#6 0.488 Get:1 http://mirror.example/debian trixie InRelease [140 kB]
#6 2.311 E: Unable to locate package python3
#6 ERROR: process "/bin/sh -c apt-get update" did not complete successfully: exit code: 100
------
 > [lab python 2/3] RUN apt-get update && apt-get install python3:
0.488 Err:1 http://mirror.example/debian trixie InRelease


2.284 Reading state information...
2.311 E: Unable to locate package python3
------
"""
BUILDX_ENDS = """\
Dockerfile:11
--------------------
  11 | >>> RUN apt-get update
--------------------
ERROR: failed to solve: process "/bin/sh -c apt-get update" did not complete: exit code: 100
"""
STEP = [
    "Err:1 http://mirror.example/debian trixie InRelease",
    "Reading state information...",
    "E: Unable to locate package python3",
]


def test_a_failed_build_shows_what_its_step_printed() -> None:
    assert failing_step(APT) == STEP
    assert failing_step(APT + BUILDX_ENDS) == STEP


def test_a_build_that_fails_outside_a_step_shows_its_last_lines() -> None:
    said = "ERROR: failed to solve: base:trixie: not found"
    assert failing_step(f"#2 DONE 0.0s\n\n{said}\n") == ["#2 DONE 0.0s", said]
    assert failing_step("") == []


def test_a_long_step_shows_its_end() -> None:
    lines = [f"{number}.000 line {number}" for number in range(30)]
    output = "\n".join(["------", " > [1/2] RUN true:", *lines, "------", ""])
    assert failing_step(output)[-1] == "line 29"
    assert len(failing_step(output)) < 12


def test_a_build_goes_through_the_machines_proxies_whose_passwords_are_on_no_command_line() -> None:
    environment = {"http_proxy": "http://me:secret@proxy.example:3128", "NO_PROXY": "localhost"}
    words = proxy_arguments(environment | {"https_proxy": "", "PATH": "/bin"})
    assert words == ["--build-arg", "http_proxy", "--build-arg", "NO_PROXY"]
    assert proxy_arguments({}) == []
