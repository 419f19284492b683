"""Work that was handed to a cluster, seen from the app's machine; the cluster's HTTP answers are written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core import cluster
from core.errors import InvalidConfigError, UserError
from core.jobs import BACKENDS, backend, ray_api
from core.jobs.handed import hand_over, handed, withdraw
from core.jobs.queue import Queue, Superseded
from core.jobs.ticket import FarTicket
from core.jobs.worker import execute
from core.runs import Job, Run
from core.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.tiny_run import make_dataset, make_run

RAY = BACKENDS["ray"]


class Head:
    """Stands for a cluster: answers each job with `status`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.code, self.asked, self.bodies, self.tokens = "PENDING", 200, [], [], []
        head = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                head.tokens.append(self.headers.get("Authorization"))
                self._answer(
                    {"status": head.status, "message": "node died\nall its logs", "error_type": head.error_type}
                )

            def do_POST(self) -> None:
                head.asked.append(self.path)
                head.bodies.append(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}"))
                self._answer({})

            def _answer(self, body: dict[str, object]) -> None:
                self.send_response(head.code)
                if head.code == 302:
                    self.send_header("Location", f"http://127.0.0.1:{head.server.server_port}/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.error_type = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def stops(self) -> int:
        return sum(path.endswith("/stop") for path in self.asked)

    @property
    def submissions(self) -> list[str]:
        return [body["submission_id"] for body in self.bodies if "submission_id" in body]


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Head]:
    found = Head()
    (tmp_path / "token").write_text("a secret\n")
    monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{found.server.server_port}")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv(cluster.BACKEND, "ray")
    monkeypatch.setattr(ray_api, "TIMEOUT_S", 1.0)
    monkeypatch.setattr("core.jobs.ray.ASK_EVERY_S", 0.0)
    monkeypatch.setattr(type(RAY), "_ensure_keeper", lambda self, base: None)  # only this process looks
    yield found
    found.server.shutdown()


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return make_run(workspace, make_dataset(workspace))


def state_in_queue(run: Run, workspace: Workspace) -> tuple[str, int, int]:
    entry = Queue(workspace.root).entry(f"runs/{run.id}")
    assert entry is not None
    return entry.state, entry.attempt, entry.deaths


def let_it_run(run: Run, head: Head) -> None:
    """As its worker would say it."""
    head.status = "RUNNING"
    found = handed(run.folder)
    assert found is not None
    run.update(state="running", attempt=found.attempt, pid=0, pid_start=0)


def test_a_training_is_handed_over_with_its_share_and_without_a_secret(head, run, workspace, monkeypatch):
    monkeypatch.setenv(cluster.GPUS, "0.5")
    RAY.start(run)
    body = head.bodies[-1]
    assert body["submission_id"] == handed(run.folder).submission
    assert (body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == (1, 0.5)
    assert body["runtime_env"]["env_vars"]["CROSSMODAL_RAY_GPUS"] == "0.5"
    assert "a secret" not in json.dumps(body) and set(head.tokens) == {"Bearer a secret"}
    assert (run.state, run.status.message) == ("queued", "Waits for a free place in the cluster")
    assert state_in_queue(run, workspace) == ("running", 1, 0)


@pytest.mark.parametrize(("how", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_what_still_waits_in_the_cluster_ends_at_once_and_cannot_start_later(head, run, workspace, how, state):
    RAY.start(run)
    submission = handed(run.folder).submission
    getattr(RAY, how)(run)
    RAY.tick(workspace)
    assert run.state == state and state_in_queue(run, workspace)[0] == state and head.stops == 1
    code = subprocess.run(
        [sys.executable, "-m", "core.jobs.far", str(run.folder), submission], cwd=REPOSITORY, timeout=60, check=False
    ).returncode
    assert code == 0 and run.state == state and not (run.folder / "history.jsonl").exists()


def test_a_stop_is_asked_for_until_it_holds_and_no_process_here_is_touched(head, run, workspace, monkeypatch):
    touched = []
    monkeypatch.setattr(os, "kill", lambda *about: touched.append(about))
    monkeypatch.setattr(os, "killpg", lambda *about: touched.append(about))
    monkeypatch.setattr("core.jobs.ray.STOP_PATIENCE_S", -1.0)
    monkeypatch.setattr("core.jobs.local.STOP_PATIENCE_S", -1.0)
    RAY.start(run)
    let_it_run(run, head)
    RAY.cancel(run)
    for _ in range(3):
        RAY.tick(workspace)
    assert head.stops == 3 and run.state == "running"
    head.status = "STOPPED"
    RAY.tick(workspace)
    assert run.state == "cancelled" and state_in_queue(run, workspace)[0] == "cancelled" and not touched


def test_a_worker_that_died_is_handed_over_again_and_the_old_one_may_not_write(head, run, workspace):
    RAY.start(run)
    let_it_run(run, head)
    old = FarTicket(run.folder, handed(run.folder))
    head.status = "FAILED"
    RAY.tick(workspace)
    assert run.log_tail() == "The cluster says: node died" and "started again" in run.status.note
    assert state_in_queue(run, workspace) == ("running", 2, 1)
    assert len(set(head.submissions)) == 2
    with pytest.raises(Superseded), old.publishing("finished"):
        raise AssertionError("a stale attempt came to write")
    assert FarTicket(run.folder, handed(run.folder)).counts


def test_waiting_longer_than_ray_lets_a_job_wait_is_no_death(head, run, workspace):
    RAY.start(run)
    head.status, head.error_type = "FAILED", ray_api.NO_PLACE
    RAY.tick(workspace)
    assert state_in_queue(run, workspace) == ("running", 1, 0) and len(set(head.submissions)) == 2
    assert handed(run.folder).submission == head.submissions[-1]


def test_a_cluster_that_does_not_answer_makes_nothing_dead(head, run, workspace):
    RAY.start(run)
    let_it_run(run, head)
    head.code = 503
    RAY.tick(workspace)
    head.code = 401
    RAY.tick(workspace)
    assert run.state == "running" and state_in_queue(run, workspace) == ("running", 1, 0)


def test_the_last_word_of_a_worker_reaches_the_queue(head, run, workspace):
    RAY.start(run)
    let_it_run(run, head)
    ticket = FarTicket(run.folder, handed(run.folder))
    with ticket.publishing("finished"):
        run.update(state="finished")
    RAY.tick(workspace)  # though Ray has not noticed yet
    assert state_in_queue(run, workspace) == ("finished", 1, 0) and run.state == "finished"


def test_who_resumes_at_once_is_heard_though_nobody_looked_since_the_pause(head, run, workspace):
    RAY.start(run)
    let_it_run(run, head)
    RAY.pause(run)
    with FarTicket(run.folder, handed(run.folder)).publishing("paused"):
        run.update(state="paused")
    RAY.resume(run)
    assert state_in_queue(run, workspace) == ("running", 2, 0) and len(set(head.submissions)) == 2


def test_work_done_far_away_is_recorded_without_a_process_of_this_machine(workspace, monkeypatch):
    job = Job.create(workspace.jobs / "embed-1", "embed", {})
    monkeypatch.setitem(execute.__globals__["KINDS"], "embed", lambda job, *_: job.status)
    seen = execute(job, workspace, FarTicket(job.folder, hand_over(job.folder, 3)))
    assert (seen.state, seen.pid, seen.attempt) == ("running", 0, 3) and job.state == "finished"
    ticket = FarTicket(job.folder, handed(job.folder))
    withdraw(job.folder)
    with pytest.raises(Superseded):
        execute(job, workspace, ticket)


def test_a_cluster_that_cannot_be_used_is_said_before_anything_waits(head, run, monkeypatch):
    for code, words in [(401, "token"), (400, "refuses"), (302, "refuses"), (404, "dashboard"), (500, "not answer")]:
        head.code = code
        with pytest.raises(UserError, match=words) as error:
            RAY.start(run)
        assert error.value.code == "CLUSTER"
    assert not any("elsewhere" in path for path in head.asked) and len(head.tokens) == 5
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(UserError, match="http://head:8265"):
        RAY.start(run)
    assert not (run.folder / "ray.json").exists() and Queue(run.folder.parent.parent).entries() == []


def test_the_environment_chooses_the_backend_and_nonsense_is_refused(monkeypatch):
    monkeypatch.delenv(cluster.BACKEND, raising=False)
    assert backend() is BACKENDS["local"]
    monkeypatch.setenv(cluster.BACKEND, "ray")
    assert backend() is RAY
    monkeypatch.setenv(cluster.BACKEND, "slurm")
    with pytest.raises(InvalidConfigError, match="local or ray"):
        backend()
    monkeypatch.setenv(cluster.CPUS, "many")
    with pytest.raises(InvalidConfigError, match=cluster.CPUS):
        cluster.share_of("cpu")
    monkeypatch.setenv(cluster.CPUS, "3")
    assert cluster.share_of("cpu") == cluster.Share(3, 0)
    assert cluster.share_of("auto", 2) == cluster.Share(6, 2)
