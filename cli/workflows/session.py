"""Everything that the commands do, from Python: `dmix.open(path)` gives a `Session`.

Each method takes what its command takes, under the names of the flags, with the same defaults; both
call the same function of `dmix.cli.workflows`. Settings classes become keyword arguments, so that
`help(Session.sample)` and a notebook's completion show them.
"""

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dmix.cli.show.notebook import progress_lines
from dmix.cli.show.result import Result
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.spark.masters import IN_PROCESS_BYTES
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.settings import settings_from

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic

Method = TypeVar("Method", bound=Callable[..., Any])
PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]
DEFAULT_WAREHOUSE = "./warehouse"


def takes_settings(
    cls: type[Any], *, parameter: str = "settings", hidden: tuple[str, ...] = ()
) -> Callable[[Method], Method]:
    """Gives a method one keyword argument for each field of a settings class; it gets an instance.

    Args:
        cls: A settings class (`dmix.warehouse_schema.settings`).
        parameter: Name of the argument that the method receives.
        hidden: Fields that become no argument.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in hidden}
    hints = typing.get_type_hints(cls)

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def call(self: "Session", *arguments: Any, **values: Any) -> Any:
            given = {name: values.pop(name) for name in fields if name in values}
            given = {name: value for name, value in given.items() if value is not None}
            values[parameter] = settings_from(cls, given, where=f"{method.__name__}()")
            return method(self, *arguments, **values)

        signature = inspect.signature(method)
        own = [p for name, p in signature.parameters.items() if name != parameter]
        own += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[name]
            )
            for name, field in fields.items()
        ]
        call.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        lines = [f"    {name}: {field.metadata.get('help', '')}" for name, field in fields.items()]
        call.__doc__ = "\n".join([inspect.cleandoc(method.__doc__ or ""), "", "Settings:", *lines])
        return typing.cast(Method, call)

    return decorate


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


class Session:
    """A warehouse and what can be done with it; made by `dmix.open`.

    Every method returns a `Result`, which shows itself in a notebook: `result.df()` is its table,
    `result.facts` what the command prints with `--json`, `result.value` the library's object.

    Args:
        path: Folder of the warehouse; it need not exist yet.
    """

    def __init__(self, path: PathLike) -> None:
        self.warehouse = Warehouse.at(os.fspath(path))

    def __repr__(self) -> str:
        return f"dmix.open({str(self.warehouse.root)!r})"

    @takes_settings(ClassifySettings)
    def classify(
        self,
        *,
        source: Paths = (),
        target: Paths = (),
        name: str = "main",
        add: bool = False,
        data_url: str | None = None,
        master: str | None = None,
        in_process_bytes: int = IN_PROCESS_BYTES,
        dry_run: bool = False,
        settings: ClassifySettings,
    ) -> Result:
        """Reads text and gives every document its domain, as `dmix etl classify`.

        Args:
            source: Files, folders, globs or URLs of the source field.
            target: The same of the target field.
            name: Makes the corpora `NAME-source` and `NAME-target`.
            add: Keep the inputs of the last versions and add these.
            data_url: Remote folder for labels and streams, which the warehouse remembers.
            master: Spark master, `$DMIX_MASTER` by default; naming one means Spark at any size.
            in_process_bytes: Without `master`, inputs up to this size need no Spark.
            dry_run: Look, and classify nothing.
        """
        from dmix.cli.workflows.datasets import classify_text

        return classify_text(
            self.warehouse,
            source=[str(path) for path in several(source)],
            target=[str(path) for path in several(target)],
            name=name,
            add=add,
            settings=settings,
            executor=self._executor(master, in_process_bytes),
            data_url=data_url,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    @takes_settings(ShardSettings)
    def shard(
        self,
        *,
        corpus: str | Sequence[str] = (),
        environment: Paths = (),
        data_url: str | None = None,
        master: str | None = None,
        in_process_bytes: int = IN_PROCESS_BYTES,
        dry_run: bool = False,
        settings: ShardSettings,
    ) -> Result:
        """Tokenises corpora and packs them into one stream per domain, as `dmix etl shard`.

        Args:
            corpus: Corpora to use, `NAME[@vK]`; may be left out where one pair is there.
            environment: Environment files whose items are kept out of the training text.
            data_url: Remote folder for labels and streams, which the warehouse remembers.
            master: Spark master, `$DMIX_MASTER` by default; naming one means Spark at any size.
            in_process_bytes: Without `master`, inputs up to this size need no Spark.
            dry_run: Look, and write nothing.
        """
        from dmix.cli.workflows.datasets import shard_corpora

        return shard_corpora(
            self.warehouse,
            corpus=several(corpus),
            settings=settings,
            environment=paths(environment),
            executor=self._executor(master, in_process_bytes),
            data_url=data_url,
            dry_run=dry_run,
            progress=progress_lines(),
        )

    def _executor(self, master: str | None, in_process_bytes: int) -> "Automatic":
        from dmix.etl.spark.executors import Automatic

        master = master or os.environ.get("DMIX_MASTER") or None
        return Automatic(master=master, app="dmix", in_process_bytes=in_process_bytes)


def several(given: Any) -> tuple[Any, ...]:
    """One value, or a sequence of them, as a tuple."""
    return (given,) if isinstance(given, str | os.PathLike) else tuple(given)


def paths(given: Paths) -> tuple[Path, ...]:
    """One path, or a sequence of them."""
    return tuple(Path(path) for path in several(given))


def open(path: PathLike | None = None) -> Session:
    """A session on a warehouse, which need not exist yet.

    Args:
        path: Folder of the warehouse; `$DMIX_WAREHOUSE`, else `./warehouse`, when left out.
    """
    return Session(os.environ.get("DMIX_WAREHOUSE", DEFAULT_WAREHOUSE) if path is None else path)
