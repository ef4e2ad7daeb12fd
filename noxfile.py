"""The versions to test with, the lint and the documentation: `nox --list` names the sessions."""

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
DJANGOS = ["5.2", "6.0", "6.1"]
# Django 6.0 and 6.1 need Python 3.12 or later.
VERSIONS = [
    nox.param(python, django, id=f"{python}-django{django}")
    for python in PYTHONS
    for django in DJANGOS
    if python != "3.11" or django == "5.2"
]

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "docs"]


@nox.session
@nox.parametrize(["python", "django"], VERSIONS)
def tests(session: nox.Session, django: str) -> None:
    """Run the tests with one Python and one Django; DATABASE_URL may name the server."""
    session.install("-r", "requirements.txt", f"Django~={django}.0")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, types, spelling, templates, migrations and settings."""
    session.install("-r", "requirements.txt", "-e", ".[dev,docs]")
    session.run(".ci/lint", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/; a broken link or a page that the navigation lacks is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict")
