"""The command line: list, open, run, publish, check, site.

Commands import what they need when they are called, so that `hierlab --help` answers at once. What a user can get wrong comes
back as one line and exit code 2; what failed, as one line and exit code 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    help="Papers on hierarchical and credit-aware learning, each with a lab: step through it, run it, publish what came out.",
    epilog="Begin with: hierlab list  ·  hierlab open gigpo  ·  hierlab run gigpo --scale smoke",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Labs = Annotated[list[str] | None, typer.Argument(help="Labs by name, as `hierlab list` shows them.", show_default=False)]
Family = Annotated[str | None, typer.Option(help="All labs of one family, such as credit.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Every lab there is.")]
Scale = Annotated[str, typer.Option(help="smoke (seconds), reduced (minutes on a laptop) or full (the paper's own, on GPUs).")]


def _one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what a user can get wrong into one line and an exit code; leave our own mistakes their traceback."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        from hierlab.lab.errors import Refused

        try:
            return command(*arguments, **options)
        except Refused as error:
            _end(str(error), 2)
        except OSError as error:
            _end(f"{error.filename or 'input and output'}: {error.strerror or error}", 1)
        except KeyboardInterrupt:
            _end("interrupted", 130)

    return wrapped


def _end(message: str, code: int) -> NoReturn:
    print(f"hierlab: {message}", file=sys.stderr)
    raise typer.Exit(code)


@app.command("list")
@_one_line
def list_(family: Family = None) -> None:
    """Show papers, labs, claims and verdicts.

    [dim]hierlab list[/]

    [dim]hierlab list --family credit[/]
    """
    from hierlab.lab.overview import overview

    overview(family)


@app.command("open")
@_one_line
def open_(
    lab: Annotated[str, typer.Argument(help="A lab by name.")],
    jupyter: Annotated[bool, typer.Option("--jupyter", help="Open it in JupyterLab instead of marimo.")] = False,
    as_app: Annotated[bool, typer.Option("--app", help="Show results and controls only, without code.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to serve on; by default a free one.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Open a lab in the browser, to step through the method. No long computation starts by itself.

    The server listens on 127.0.0.1 only and wants the token that is part of the address it prints.

    [dim]hierlab open gigpo[/]

    [dim]hierlab open gigpo --jupyter --no-browser[/]
    """
    from hierlab.lab.open import server_command

    if jupyter and as_app:
        _end("--jupyter and --app exclude each other", 2)
    command = server_command(lab, jupyter=jupyter, as_app=as_app, port=port, browser=browser)
    os.execv(command[0], command)


@app.command()
@_one_line
def run(
    labs: Labs = None,
    family: Family = None,
    every: All = False,
    scale: Scale = "reduced",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting of the lab; may be repeated.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds; by default as many as the scale asks for.", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many labs to run side by side.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes inside each lab; by default one a core, shared by the jobs.")
    ] = None,
) -> None:
    """Run labs headlessly, with progress; what is finished is kept and never run twice.

    Killed or interrupted, the same command goes on from there. Each run is kept in runs/LAB/SCALE-SETTINGS, with its executed
    notebook; one lab that fails does not stop the others.

    [dim]hierlab run gigpo --scale smoke[/]

    [dim]hierlab run gigpo hiper --set iterations=80 --set rates=0.6,1.2 --seeds 3[/]

    [dim]hierlab run --family credit --jobs 2[/]
    """
    from hierlab.lab.places import cores
    from hierlab.lab.run import jobs_for, run_jobs
    from hierlab.lab.settings import assignments

    slugs = _chosen(labs, family, every)
    if set_ and len(slugs) > 1 and (family or every):
        _end("--set belongs to one lab's settings: name the labs instead of --family or --all", 2)
    share = workers or (max(1, cores() // min(jobs, len(slugs))) if jobs > 1 else 0)
    plan = jobs_for(slugs, scale, assignments(set_ or []), seeds=seeds or 0, workers=share)
    outcomes = run_jobs(plan, at_once=jobs)
    from hierlab.lab.overview import report

    for job in plan:
        report(job, outcomes[job.slug])
    if any(o.status == "interrupted" for o in outcomes.values()):
        raise typer.Exit(130)
    if any(o.status != "complete" for o in outcomes.values()):
        raise typer.Exit(1)


@app.command()
@_one_line
def publish(
    labs: Labs = None,
    family: Family = None,
    every: All = False,
    scale: Annotated[str, typer.Option(help="reduced or full; a smoke run proves nothing and is not published.")] = "reduced",
    stills: Annotated[bool, typer.Option("--stills/--no-stills", help="Also draw every figure as a PNG, which needs Chromium.")] = True,
) -> None:
    """Publish the newest complete run: its ledger into data/results, its figures into figures/LAB.

    Refused: a run that is incomplete, at smoke scale, with overridden settings, or made by other code than the present.

    [dim]hierlab run gigpo && hierlab publish gigpo && hierlab site[/]
    """
    from hierlab.lab.publish import publish_lab

    for slug in _chosen(labs, family, every):
        for line in publish_lab(slug, scale, stills=stills):
            print(line)


@app.command()
@_one_line
def check(labs: Labs = None) -> None:
    """Hold labs to the common skeleton, and published results to the code and settings that made them.

    [dim]hierlab check[/]

    [dim]hierlab check gigpo[/]
    """
    from hierlab.lab.check import check_labs

    findings, checked = check_labs(labs or None)
    for finding in findings:
        print(finding)
    print(f"{checked}: {f'{len(findings)} found wrong' if findings else 'all in order'}")
    if findings:
        raise typer.Exit(1)


@app.command()
@_one_line
def site(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve it on 127.0.0.1 after building it.")] = True,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to serve on.")] = 8000,
) -> None:
    """Build the site into site/, and serve it.

    [dim]hierlab site[/]

    [dim]hierlab site --no-serve[/]
    """
    from hierlab.lab.site import build_site, serve_site

    folder = build_site()
    print(f"built {folder}")
    if serve:
        serve_site(folder, port)


def _chosen(labs: list[str] | None, family: str | None, every: bool) -> list[str]:
    """The labs that a command is about: named, of a family, or all."""
    from hierlab.lab.errors import Refused, suggest
    from hierlab.lab.places import lab_file
    from hierlab.lab.places import labs as known
    from hierlab.papers import FAMILIES

    if sum([bool(labs), family is not None, every]) != 1:
        raise Refused("name labs, or give --family, or --all; `hierlab list` shows them")
    if labs:
        return [lab_file(slug).stem for slug in dict.fromkeys(labs)]
    if family is not None and family not in FAMILIES:
        raise Refused(f"no family {family!r}: {suggest(family, FAMILIES)}")
    slugs = [slug for slug, path in known().items() if every or path.parent.name == family]
    if not slugs:
        raise Refused(f"no labs{f' in family {family}' if family else ''} yet; `hierlab list` shows all papers")
    return slugs


def main() -> None:
    """The `hierlab` command."""
    app()
