"""The lifecycle of a cluster: its states in order, the execution of its steps, and their logs in S3."""

import gzip
import json
import threading
import time
from dataclasses import dataclass

from tests.conftest import HANG_S
from tests.emr_double.cluster import Cluster, Step
from tests.emr_double.machine import Completed, Machine

DWELL_S = 0.03


@dataclass(frozen=True)
class Lifecycle:
    """Runs clusters on a machine."""

    machine: Machine

    def run(self, cluster: Cluster) -> None:
        """Pass through the states from STARTING to TERMINATED; return after the last."""
        cluster.enter("STARTING")
        if cluster.outcome.kind == "stuck":
            cluster.ending.wait()
        if cluster.outcome.kind == "capacity":
            self._fail(cluster, "INSTANCE_FAILURE", "Insufficient capacity for m6g.xlarge")
        cluster.ending.wait(DWELL_S)
        if not cluster.ending.is_set():
            cluster.enter("BOOTSTRAPPING")
            cluster.ending.wait(DWELL_S)
            if not self._bootstrap(cluster):
                self._fail(cluster, "BOOTSTRAP_FAILURE", "bootstrap action 1 returned a non-zero return code")
        while not cluster.ending.is_set():
            if not cluster.pending.queue and not cluster.request["Instances"]["KeepJobFlowAliveWhenNoSteps"]:
                cluster.code, cluster.reason = "ALL_STEPS_COMPLETED", "Steps completed"
                break
            cluster.enter("RUNNING" if cluster.pending.queue else "WAITING")
            step = cluster.pending.get()
            if step is not None:
                cluster.enter("RUNNING")
                self._work(cluster, step)
        self._end(cluster)

    def _end(self, cluster: Cluster) -> None:
        cluster.enter("TERMINATING")
        for step in cluster.steps:
            if step.state == "PENDING":
                step.state, step.reason = "CANCELLED", "Job terminated"
        time.sleep(DWELL_S)
        cluster.enter("TERMINATED_WITH_ERRORS" if cluster.failed else "TERMINATED")

    def _fail(self, cluster: Cluster, code: str, reason: str) -> None:
        cluster.code, cluster.reason, cluster.failed = code, reason, True
        cluster.ending.set()

    def _bootstrap(self, cluster: Cluster) -> bool:
        for action in cluster.request.get("BootstrapActions", ()):
            script = action["ScriptBootstrapAction"]
            command = ["/bin/bash", "-s", "--", *map(self.machine._local, script.get("Args", []))]
            container = self.machine.container([])
            done, _ = self.machine.run(command, container, {}, threading.Event(), self.machine.read(script["Path"]))
            if done.status:
                return False
        return cluster.outcome.kind != "bootstrap"

    def _work(self, cluster: Cluster, step: Step) -> None:
        step.state = "RUNNING"
        step.cancel.wait(DWELL_S)
        if step.outcome.kind == "lost":  # the step stays RUNNING
            self._fail(cluster, "INSTANCE_FAILURE", "All core instances were lost")
            return
        try:
            done = self._execute(step)
        except Exception as error:  # an error of the double itself must reach the test
            done = Completed(1, f"{type(error).__name__}: {error}")
        if step.outcome.until_polled:
            step.polled.wait(HANG_S)
        if not step.outcome.without_logs and cluster.request.get("LogUri"):
            self._log(cluster, step, done)
        if step.cancel.is_set():
            step.state, step.reason = "CANCELLED", "Cancelled by user"
        else:
            step.state = "FAILED" if done.status else "COMPLETED"
            if done.status and step.config["ActionOnFailure"] == "TERMINATE_CLUSTER":
                self._fail(cluster, "STEP_FAILURE", "Shut down as step failed")

    def _execute(self, step: Step) -> Completed:
        fate, jar = step.outcome, step.config["HadoopJarStep"]
        if fate.kind == "fail":
            return Completed(1, fate.stderr)
        if fate.kind == "never":
            step.cancel.wait()
            return Completed(143, "")
        if fate.kind == "cancelled":
            step.cancel.set()
            return Completed(143, "")
        assert jar["Jar"] == "command-runner.jar"
        command, *words = jar["Args"]
        if command == "hadoop-streaming":
            return self.machine.streaming(words, step.cancel)
        assert command == "spark-submit"
        return self._spark(words, step)

    def _spark(self, words: list[str], step: Step) -> Completed:
        settings: dict[str, str] = {}
        while words[0].startswith("--"):
            name, value, *words = words
            if name == "--conf":
                key, _, value = value.partition("=")
                settings[key] = value
            else:
                settings[{"--archives": "spark.archives"}.get(name, name)] = value
        assert settings["--deploy-mode"] == "cluster"
        return self.machine.spark(settings, words[0], words[1:], "spark.yarn.appMasterEnv.", step.cancel)

    def _log(self, cluster: Cluster, step: Step, done: Completed) -> None:
        """Write the logs; the standard error of a step names only its application, whose container has the real one."""
        application = f"application_1700000000000_{len(cluster.steps):04d}"
        stderr = f"24/01/01 00:00:00 INFO Client: Submitted application {application}\n"
        if done.status:
            spark = "org.apache.spark.SparkException"
            stderr += f'Exception in thread "main" {spark}: Application {application} finished with failed status\n'
        step_logs = {
            "controller": f"INFO startExec '{json.dumps(step.config['HadoopJarStep']['Args'])}'\n",
            "stderr": stderr,
            "syslog": "",
            "stdout": "",
        }
        container = f"containers/{application}/container_1700000000000_0001_01_000001"
        texts = {f"steps/{step.id}/{name}.gz": text for name, text in step_logs.items()}
        texts |= {f"{container}/stderr.gz": done.stderr, f"{container}/stdout.gz": ""}
        bucket, _, prefix = cluster.request["LogUri"].removeprefix("s3://").partition("/")
        for name, text in texts.items():
            key = f"{prefix.rstrip('/')}/{cluster.id}/{name}"
            self.machine.s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(text.encode()))
