"""A kind of contract for import-linter: what a package may import, rather than what it may not.

A list of forbidden packages is out of date as soon as a dependency is added; a list of allowed ones is not.
"""

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowedImports(Contract):
    """Modules of `source_packages` import the standard library, less some of it, and what is `allowed`.

    Direct imports only: what an allowed module imports in turn is that module's matter.
    """

    type_name = "allowed_imports"

    source_packages = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField())
    forbidden_standard_library = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 -- the interface
        # The library replaces the field descriptions by plain lists when it makes a contract.
        sources = cast("list[str]", self.source_packages)
        allowed = cast("list[str]", self.allowed)
        forbidden = cast("list[str]", self.forbidden_standard_library or [])
        broken = [
            (module, imported)
            for module in sorted(graph.modules)
            if _within(module, sources)
            for imported in sorted(graph.find_modules_directly_imported_by(module))
            if not _may(imported, allowed, forbidden)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, imported in check.metadata["broken"]:
            output.print_error(f"{module} is not allowed to import {imported}.")


def _within(module: str, packages: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _may(imported: str, allowed: list[str], forbidden: list[str]) -> bool:
    if _within(imported, allowed):
        return True
    return imported.partition(".")[0] in sys.stdlib_module_names and not _within(imported, forbidden)
