"""Runs a preparation on the processes of this machine."""

import functools

from musicgen_jax.data import shard_files, workers
from musicgen_jax.data.preparation_job import Planned, PreparationJob
from musicgen_jax.data.spool import Batch
from musicgen_jax.runtime import console, progress_report
from musicgen_jax.runtime.errors import UserError

SHARD_SECONDS = 600.0  # for one to be written


class LocalRunner:
    """Processes of this machine.

    Attributes:
      num_workers: of them; 0 works in this one, where nothing guards against crashes and hangs.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def run(self, job: PreparationJob, batches: list[Batch], unit: str) -> list[Planned]:
        """Makes all parts and shards of a job that are not made yet.

        Args:
          job: the preparation.
          batches: its parts.
          unit: of their amounts.

        Returns:
          The shards.

        Raises:
          UserError: a shard cannot be written, however often.
        """
        self._make_parts(job, batches, unit)
        planned = job.plan()
        self._write_shards(job, planned)
        return planned

    def _make_parts(self, job: PreparationJob, batches: list[Batch], unit: str) -> None:
        left = [one for one in batches if not job.spool.is_made(one.number)]
        with self._progress("read tracks", unit, [one.amount for one in batches], [one.amount for one in left]) as bar:
            outcomes = workers.ordered_map(functools.partial(_make, job), left, self.num_workers, _seconds)
            for batch, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, workers.Lost):  # one of its tracks is to blame
                    job.spool.make_apart(job.form, batch.number, self.num_workers)
                bar.update(batch.amount)

    def _write_shards(self, job: PreparationJob, planned: list[Planned]) -> None:
        left = [one for one in planned if not shard_files.is_written(job.place, job.dataset, one.shard)]
        amounts = [one.seconds for one in planned], [one.seconds for one in left]
        with self._progress("write shards", "audio-s", *amounts) as bar:
            write = functools.partial(_write, job)
            outcomes = workers.ordered_map(write, left, self.num_workers, lambda one: SHARD_SECONDS)
            for one, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, workers.Lost):
                    name = shard_files.file_name(job.dataset, one.shard)
                    raise UserError(f"{job.place.folder / name} cannot be written: {outcome.reason}")
                bar.update(one.seconds)

    def _progress(self, what: str, unit: str, amounts: list[float], left: list[float]) -> progress_report.Progress:
        cores = console.describe_cores(max(self.num_workers, 1))
        return progress_report.Progress(what, sum(amounts), unit, done=sum(amounts) - sum(left), devices=cores)


def _seconds(batch: Batch) -> float:
    return batch.seconds


def _make(job: PreparationJob, batch: Batch) -> None:
    job.make_part(batch.number)


def _write(job: PreparationJob, one: Planned) -> None:
    job.write_shard(one.shard)
