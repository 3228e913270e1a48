# SPDX-License-Identifier: Apache-2.0
"""The tree of commands. Each command imports its room when it is called, so that `--help` is there at once."""

import typer

from hub.cli import act, alarms, archive, ask, care, jobs, meters, new, rules, run, study

app = typer.Typer(
    name="mining-hub",
    help="Energy and hashrate management of a mining hub: collect, plan, command, obey, settle, prove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 140},
)
run.add_to(app)
ask.add_to(app)
act.add_to(app)
jobs.add_to(app)
care.add_to(app)
alarms.add_to(app)
archive.add_to(app)
meters.add_to(app)
rules.add_to(app)
study.add_to(app)
new.add_to(app)
