"""Runs a preparation on Apache Beam: on this machine, or on a cluster of Dataflow, Flink or Spark."""

import argparse
import contextlib
import functools
import io
import logging
import shlex
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from musicgen_jax.data import shard_files
from musicgen_jax.data.preparation_job import Planned, PreparationJob
from musicgen_jax.data.spool import Batch
from musicgen_jax.runtime import progress_report
from musicgen_jax.runtime.errors import UserError

# --runner -> Beam's class.
RUNNERS = {"direct": "DirectRunner", "dataflow": "DataflowRunner", "flink": "FlinkRunner", "spark": "SparkRunner"}
QUIET = "--default_sdk_harness_log_level=ERROR"  # a worker tells every step otherwise
POLL_SECONDS = 1.0
MISSING = "`runner`={runner} needs Apache Beam, which is not installed: pip install 'musicgen_jax[beam]'"


class BeamRunner:
    """A pipeline of Beam that makes the parts, plans, and writes the shards; what has been done is left out.

    The parts and shards pass through the data set's folder, which all workers must see; between them go numbers only.
    """

    def __init__(self, runner: str, options: Sequence[str] = ()) -> None:
        """Args:
          runner: one of `RUNNERS`.
          options: those of Beam's own pipelines, such as "--direct_num_workers=4".

        Raises:
          UserError: Beam is not installed, or does not know an option.
        """
        try:
            from apache_beam.options import pipeline_options
        except ImportError as error:
            raise UserError(MISSING.format(runner=runner)) from error
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        ours = [f"--runner={RUNNERS[runner]}", QUIET]
        unknown: list[str] = []

        def look(parser: argparse.ArgumentParser) -> None:
            unknown.extend(parser.parse_known_args(options)[1])

        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                self._options = pipeline_options.PipelineOptions([*ours, *options])
                self._options.get_all_options(add_extra_args_fn=look)  # the parser that reads them all
        except SystemExit as error:  # argparse has said why
            reason = said.getvalue().strip().rpartition("error: ")[2]
            raise UserError(f"`beam_options`={shlex.join(options)}: {reason}") from error
        if unknown and runner in ("direct", "dataflow"):  # the others' job servers have options of their own
            raise UserError(f"`beam_options`: Apache Beam has no option {unknown[0]}; its documentation lists them")

    def run(self, job: PreparationJob, batches: list[Batch], unit: str) -> list[Planned]:
        """Makes all parts and shards of a job that are not made yet, and returns the shards.

        Args:
          job: the preparation.
          batches: its parts.
          unit: of their amounts.

        Raises:
          Exception: what a worker raised, as Beam tells it; what is done by then stays done.
        """
        import apache_beam as beam

        amounts = {one.number: one.amount for one in batches}
        left = [number for number in amounts if not job.spool.is_made(number)]
        with _Watch(amounts, job.spool.is_made, unit), beam.Pipeline(options=self._options) as pipeline:
            parts = pipeline | "parts" >> beam.Create(left, reshuffle=False) | beam.Reshuffle()
            made = parts | "read" >> beam.Map(functools.partial(_make, job))
            whole = made | beam.combiners.Count.Globally()
            shards = whole | "plan" >> beam.FlatMap(functools.partial(_plan, job)) | "deal" >> beam.Reshuffle()
            shards | "write" >> beam.Map(functools.partial(_write, job))
        return job.plan()


def _make(job: PreparationJob, number: int) -> int:
    job.make_part_safely(number)
    return number


def _plan(job: PreparationJob, num_made: int) -> Iterable[shard_files.Shard]:
    del num_made  # that all are made is all that counts
    planned = (one.shard for one in job.plan())
    return [shard for shard in planned if not shard_files.is_written(job.place, job.dataset, shard)]


def _write(job: PreparationJob, shard: shard_files.Shard) -> None:
    job.write_shard(shard)


class _Watch:
    """A progress bar of parts that others make: looks now and then which there are."""

    def __init__(self, amounts: dict[int, float], is_made: Callable[[int], bool], unit: str) -> None:
        self._left, self._is_made = dict(amounts), is_made
        self._bar = progress_report.Progress("read tracks", sum(amounts.values()), unit, devices="Apache Beam")
        self._bar.skip(self._count())
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        self._thread.join()
        self._bar.update(self._count())
        self._bar.close()

    def _look(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            if amount := self._count():
                self._bar.update(amount)

    def _count(self) -> float:
        """Amount of the parts that have been made since the last call."""
        made = [number for number in self._left if self._is_made(number)]
        return sum(self._left.pop(number) for number in made)
