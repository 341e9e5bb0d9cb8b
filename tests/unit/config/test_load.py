from __future__ import annotations

import os
import socket
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudoworker.config import ConfigurationError, Overrides, load
from pseudoworker.config.model import Credentials, Limits, WorkerSettings
from tests.unit.config.conftest import CLIENT_CONF, PSEUDOWORKER_TOML, WORKERS_INI, Directory


def test_the_smallest_configuration(directory: Directory) -> None:
    configuration = directory.load()
    assert configuration.master.url == "http://127.0.0.1:21000"
    assert configuration.slave.url == "http://127.0.0.1:22000"
    assert configuration.master.credentials == Credentials(
        "1111111111111111", "AAAAAAAAAAAAAAAA", f"{directory.path}/client.conf:2: [127.0.0.1:21000] key"
    )
    assert configuration.slave.credentials is not None
    assert configuration.slave.credentials.key == "2222222222222222"
    assert configuration.host == os.uname().nodename
    assert [slot.instance for slot in configuration.slots] == [1]
    assert configuration.slots[0].worker_class == (":lab:qemu_x86_64",)
    assert configuration.slots[0].settings == {"WORKER_CLASS": ":lab:qemu_x86_64"}
    assert configuration.classes.to_slave(":lab:qemu_x86_64") == "qemu_x86_64"
    assert configuration.limits == Limits()
    assert configuration.worker == WorkerSettings(worker_hostname="localhost")
    assert configuration.state_dir == Path("/var/lib/openqa/pseudoworker")
    assert (configuration.group, configuration.verbose, configuration.on_stop) == (None, False, "detach")
    assert [path.name for path in configuration.files] == ["workers.ini", "pseudoworker.toml", "client.conf"]


def test_secrets_are_not_shown(directory: Directory) -> None:
    directory.append("workers.ini", "IPMI_PASSWORD = hunter2\n")
    shown = repr(directory.load()) + repr(Overrides(apisecret="hunter2"))
    assert "AAAAAAAAAAAAAAAA" not in shown
    assert "hunter2" not in shown


def test_every_value_has_an_origin(directory: Directory) -> None:
    directory.append("pseudoworker.toml", '[classes]\n"special" = "own"\n')
    configuration = directory.load(Overrides(instances="1-2", verbose=True))

    def leaves(value: object, name: str) -> list[str]:
        if is_dataclass(value) and not isinstance(value, Credentials):
            return [
                leaf
                for field in fields(value)
                for leaf in leaves(getattr(value, field.name), f"{name}.{field.name}")
            ]
        return [name.removeprefix(".")]

    expected = set(leaves(configuration, "")) - {"files", "origins", "classes.pairs"}
    expected |= {"classes.pairs.special", "slots.1.worker_class", "slots.2.worker_class"}
    assert set(configuration.origins) == expected
    assert configuration.origins["master.url"] == f"{directory.path}/workers.ini:2: [global] HOST"
    assert configuration.origins["slave.url"] == f"{directory.path}/pseudoworker.toml:2: [slave] url"
    assert configuration.origins["slots"] == "command line: --instance"
    assert configuration.origins["verbose"] == "command line: --verbose"
    assert configuration.origins["limits.threads"] == "default"
    assert (
        configuration.origins["classes.pairs.special"]
        == f"{directory.path}/pseudoworker.toml:5: [classes] special"
    )


def test_all_mistakes_at_once(directory: Directory) -> None:
    directory.write(
        "workers.ini",
        "[global]\nHOST = http://a http://b\nWORKER_CLASS = qemu, :lab:\n"
        "STATUS_MIN_INTERVAL = many\nrubbish\n",
    )
    directory.write(
        "pseudoworker.toml",
        'statedir = "/x"\n[slave]\nurl = "ftp://slave"\nlocation = "lab"\ngroups = "x"\n'
        "[limits]\nthreads = 1\n[limit]\n",
    )
    directory.remove("client.conf")
    assert directory.mistakes(Overrides(instances="7-3", on_stop="die"), STATE_DIRECTORY="state") == [
        "workers.ini:5: neither section nor key with value nor comment; "
        "write [section], key = value or # comment",
        "pseudoworker.toml:8: [limit]: unknown table; did you mean [limits]?",
        "pseudoworker.toml:1: statedir: unknown key; did you mean state_dir?",
        "pseudoworker.toml:5: [slave] groups: unknown key; did you mean group?",
        "pseudoworker.toml:7: [limits] threads: 1 is out of range; give a number from 2 to 256",
        "command line: --instance: '7-3' is no range of instances; "
        "give numbers from 1 to 1000000, the lower first",
        "workers.ini:2: [global] HOST: 2 web UIs are named; "
        "name the one master; start a process of its own for each further one",
        "pseudoworker.toml:3: [slave] url: 'ftp://slave' does not begin with http:// or https://; "
        "write it like https://openqa.example.com",
        "client.conf: no API key and secret for http://a (no file at client.conf); "
        "add one of the sections [a:80], [http://a], [a] with key and secret from the web UI",
        "workers.ini:4: [global] STATUS_MIN_INTERVAL: 'many' is no number; give a number",
        "workers.ini:3: [global] WORKER_CLASS: the slave has no class for 'qemu'; "
        'name it like :lab:qemu_x86_64, or add "qemu" = "…" to [classes] of pseudoworker.toml',
        "workers.ini:3: [global] WORKER_CLASS: the slave has no class for ':lab:'; "
        'name it like :lab:qemu_x86_64, or add ":lab:" = "…" to [classes] of pseudoworker.toml',
        "environment: STATE_DIRECTORY: state is a relative path; give an absolute one",
        "command line: --on-stop: 'die' is not known; give one of detach, abort",
    ]


def test_the_command_line_wins(directory: Directory) -> None:
    configuration = directory.load(
        Overrides(
            instances="2-3,9",
            host="http://[::1]:21000/openqa/",
            slave="http://127.0.0.1:22000",
            apikey="k",
            apisecret="s",
            on_stop="abort",
            verbose=True,
        )
    )
    assert configuration.master.url == "http://[::1]:21000/openqa"
    assert configuration.master.credentials == Credentials("k", "s", "command line: --apikey, --apisecret")
    assert configuration.slave.url == "http://127.0.0.1:22000"
    assert [slot.instance for slot in configuration.slots] == [2, 3, 9]
    assert (configuration.on_stop, configuration.worker.log_level) == ("abort", "debug")
    assert configuration.origins["worker.log_level"] == "command line: --verbose"


def test_the_environment(directory: Directory) -> None:
    configuration = directory.load(
        OPENQA_API_KEY="k",
        OPENQA_API_SECRET="s",
        OPENQA_BASEDIR="/srv",
        OPENQA_WORKER_STATUS_MIN_INTERVAL="10.5",
        OPENQA_WORKER_STATUS_MAX_INTERVAL="20",
        OPENQA_WORKER_TERMINATE_AFTER_JOBS_DONE="1",
    )
    assert configuration.master.credentials == Credentials(
        "k", "s", "environment: OPENQA_API_KEY, OPENQA_API_SECRET"
    )
    assert configuration.slave.credentials is not None
    assert configuration.slave.credentials.key == "2222222222222222", (
        "the master's key is no business of the slave"
    )
    assert configuration.state_dir == Path("/srv/openqa/pseudoworker")
    assert configuration.worker == WorkerSettings(
        worker_hostname="localhost",
        status_min_interval=10.5,
        status_max_interval=20,
        terminate_after_jobs_done=True,
    )
    assert (
        configuration.origins["worker.status_min_interval"]
        == "environment: OPENQA_WORKER_STATUS_MIN_INTERVAL"
    )


def test_state_dir(directory: Directory) -> None:
    directory.write("pseudoworker.toml", 'state_dir = "/toml"\n' + PSEUDOWORKER_TOML)
    assert directory.load().state_dir == Path("/toml")
    assert directory.load(STATE_DIRECTORY="/one:/two").state_dir == Path("/one")


def test_settings_of_the_host_section_and_of_each_instance(directory: Directory) -> None:
    directory.append(
        "workers.ini",
        "STATUS_MIN_INTERVAL = 7\n[2-3]\nWORKER_CLASS+ = :lab:tap\nSTATUS_MAX_INTERVAL = 70\n"
        "[http://127.0.0.1:21000]\nSTATUS_MIN_INTERVAL = 8\nTESTPOOLSERVER = rsync://x\n",
    )
    configuration = directory.load(Overrides(instances="2-3"))
    assert (configuration.worker.status_min_interval, configuration.worker.status_max_interval) == (8, 70)
    assert configuration.slots[0].worker_class == (":lab:qemu_x86_64", ":lab:tap")
    assert configuration.slots[1].settings == {
        "WORKER_CLASS": ":lab:qemu_x86_64,:lab:tap",
        "STATUS_MIN_INTERVAL": "8",
        "STATUS_MAX_INTERVAL": "70",
        "TESTPOOLSERVER": "rsync://x",
    }


def test_instances_must_agree_on_what_concerns_the_process(directory: Directory) -> None:
    directory.append(
        "workers.ini", "[2]\nHOST = http://elsewhere\nLOG_LEVEL = warn\n[3]\nLOG_LEVEL = error\n"
    )
    assert directory.mistakes(Overrides(instances="1-3"))[:2] == [
        "workers.ini:5: [2] HOST: HOST differs between instances 1 and 2; "
        "set it in [global], or start a process for each of the two",
        "workers.ini:6: [2] LOG_LEVEL: LOG_LEVEL differs between instances 1 and 2; "
        "set it in [global], or start a process for each of the two",
    ]
    assert directory.mistakes(Overrides(instances="2-4", host="http://127.0.0.1:21000")) == [
        "workers.ini:8: [3] LOG_LEVEL: LOG_LEVEL differs between instances 2 and 3; "
        "set it in [global], or start a process for each of the two",
    ]
    assert directory.load(Overrides(instances="2", host="127.0.0.1:21000")).worker.log_level == "warn"


def test_auto_slots(directory: Directory) -> None:
    directory.write(
        "pseudoworker.toml", 'instances = "auto"\n' + PSEUDOWORKER_TOML + "[limits]\nauto_slots = 3\n"
    )
    configuration = directory.load()
    assert configuration.auto_slots
    assert [slot.instance for slot in configuration.slots] == [1, 2, 3]
    assert not directory.load(Overrides(instances="2")).auto_slots
    assert configuration.origins["auto_slots"] == f"{directory.path}/pseudoworker.toml:1: instances"


def test_no_files_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(Overrides(), {"HOME": str(tmp_path)}, system_directories=[tmp_path / "etc", tmp_path / "usr"])
    assert str(caught.value).replace(str(tmp_path), "").split("\n") == [
        "workers.ini: not found (looked at /etc/workers.ini, /usr/workers.ini); "
        "write one; see docs/configuration.md",
        "pseudoworker.toml: not found (looked at /etc/pseudoworker.toml, /usr/pseudoworker.toml); "
        "write one; see docs/configuration.md",
        "client.conf: no API key and secret for http://localhost (no file at "
        "/.config/openqa/client.conf, /etc/client.conf, /usr/client.conf); "
        "add one of the sections [localhost:80], [http://localhost], [localhost] "
        "with key and secret from the web UI",
    ]


def test_a_file_that_cannot_be_parsed_shows_one_mistake(directory: Directory) -> None:
    directory.write("pseudoworker.toml", "[slave]\nurl = \n")
    assert directory.mistakes() == [
        "pseudoworker.toml:2: no valid TOML: Invalid value (at line 2, column 7); "
        "see https://toml.io for the syntax"
    ]
    directory.write("pseudoworker.toml", PSEUDOWORKER_TOML)
    directory.write("workers.ini", b"[global]\n# caf\xe9\n")
    assert directory.mistakes()[0] == "workers.ini:2: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_files_that_may_not_be_read(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).suffix != ".ini")
    assert (
        directory.mistakes()[0] == "workers.ini: cannot be read; let the service's user read it or remove it"
    )


def test_nothing_is_said_about_the_slave(directory: Directory) -> None:
    directory.write("pseudoworker.toml", "[slave]\n")
    assert directory.mistakes() == [
        "pseudoworker.toml: [slave] location: neither a location nor a pair of classes is given; "
        'add location = "…" to [slave], or pairs to [classes]',
        "pseudoworker.toml: [slave] url: the slave's URL is not given; "
        'add url = "https://…" to [slave], or use --slave',
    ]


def test_a_key_of_the_wrong_type_is_not_missing_as_well(directory: Directory) -> None:
    directory.write("pseudoworker.toml", '[slave]\nurl = 1\nlocation = ["lab"]\n')
    assert directory.mistakes() == [
        "pseudoworker.toml:2: [slave] url: the number 1 is given; give a text in quotes",
        "pseudoworker.toml:3: [slave] location: a list is given; give a text in quotes",
    ]


def test_pairs_without_location(directory: Directory) -> None:
    directory.write("workers.ini", "[global]\nHOST=http://m\nWORKER_CLASS = far, farther\n")
    directory.write("client.conf", "[m]\nkey=1\nsecret=2\n[s]\nkey=3\nsecret=4\n")
    directory.write("pseudoworker.toml", '[slave]\nurl = "s"\ngroup = "Federated"\n[classes]\nfar = "near"\n')
    assert directory.mistakes() == [
        "workers.ini:3: [global] WORKER_CLASS: the slave has no class for 'farther'; "
        'name it like far, or add "farther" = "…" to [classes] of pseudoworker.toml'
    ]
    directory.append("pseudoworker.toml", 'farther = "nearer"\n')
    configuration = directory.load()
    assert configuration.slave.url == "https://s"
    assert configuration.group == "Federated"
    assert configuration.classes.to_slave("farther") == "nearer"
    assert configuration.classes.to_slave("::x") is None


@pytest.mark.parametrize("location", ["a:b", "a b", "a,b"])
def test_a_location_is_one_word(directory: Directory, location: str) -> None:
    directory.write("pseudoworker.toml", PSEUDOWORKER_TOML.replace('"lab"', f'"{location}"'))
    assert directory.mistakes()[0] == (
        f"pseudoworker.toml:3: [slave] location: {location!r} is no location; "
        "give one word without colon, comma or space"
    )


def test_worker_class(directory: Directory) -> None:
    directory.write("workers.ini", "[global]\nHOST = 127.0.0.1:21000\nWORKER_CLASS = ,\n")
    assert directory.mistakes() == [
        "workers.ini:3: [global] WORKER_CLASS: no class is named; write for example :lab:qemu_x86_64"
    ]
    directory.write(
        "workers.ini", "[global]\nHOST = 127.0.0.1:21000\nWORKER_CLASS = :lab:a b\nWORKER_CLASS = c\n"
    )
    assert directory.mistakes() == [
        "workers.ini:4: [global] WORKER_CLASS: given more than once in its section; openQA takes the first; "
        "give it once, its values separated as the key wants them",
        "workers.ini:4: [global] WORKER_CLASS: ':lab:a b' is no worker class; "
        "separate classes by commas; a class has no space in it",
    ]
    directory.write(
        "workers.ini", "[global]\nHOST = 127.0.0.1:21000\n[2]\nWORKER_CLASS = :lab:a,, :lab:b ,:lab:a\n"
    )
    assert directory.load(Overrides(instances="2")).slots[0].worker_class == (":lab:a", ":lab:b")
    assert directory.mistakes(Overrides(instances="1-4,7")) == [
        "workers.ini: no WORKER_CLASS for instance 1,3-4,7; "
        "add WORKER_CLASS = :lab:qemu_x86_64 to [global] or to the section of the instance"
    ]


def test_no_host_means_localhost(directory: Directory) -> None:
    directory.write("workers.ini", "[global]\nHOST =\nWORKER_CLASS = :lab:a\n")
    directory.append("client.conf", "[LocalHost]\nkey = k\nsecret = s\n")
    configuration = directory.load()
    assert configuration.master.url == "http://localhost"
    assert configuration.origins["master.url"] == "default"
    assert directory.mistakes(Overrides(host=" "))[0] == (
        "command line: --host: 0 web UIs are named; "
        "name the one master; start a process of its own for each further one"
    )


@pytest.mark.parametrize("slave", ["http://127.0.0.1:21000", "localhost:21000", "http://LOCALHOST:21000/"])
def test_master_and_slave_must_differ(directory: Directory, slave: str) -> None:
    directory.append("client.conf", "[localhost:21000]\nkey = k\nsecret = s\n")
    assert "name two different instances" in directory.mistakes(Overrides(slave=slave))[0]


def test_two_instances_behind_one_proxy_differ(directory: Directory) -> None:
    configuration = directory.load(Overrides(slave="http://127.0.0.1:21000/slave"))
    assert configuration.slave.url == "http://127.0.0.1:21000/slave"


def test_the_name_to_register_under(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.append("client.conf", "[far.example.com]\nkey = k\nsecret = s\n")
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost")
    far = Overrides(host="https://far.example.com")
    assert directory.load(far).worker.worker_hostname == os.uname().nodename
    monkeypatch.setattr(socket, "getfqdn", lambda: "bridge.example.com")
    assert directory.load(far).worker.worker_hostname == "bridge.example.com"
    directory.append("workers.ini", "WORKER_HOSTNAME = 10.0.0.1\n")
    assert directory.load(far).worker.worker_hostname == "10.0.0.1"
    directory.write("pseudoworker.toml", 'host = "localhost"\n' + PSEUDOWORKER_TOML)
    assert directory.load().host == "localhost", "beside a local master that is fine"
    assert directory.mistakes(far) == [
        "pseudoworker.toml:1: host: this host is called localhost, which no master elsewhere accepts; "
        'give this host a name, or set host = "…" in pseudoworker.toml'
    ]
    directory.write("pseudoworker.toml", 'host = "a:b"\n' + PSEUDOWORKER_TOML)
    assert directory.mistakes() == [
        "pseudoworker.toml:1: host: 'a:b' is no host name; give a name without colon, comma or space"
    ]


def test_intervals(directory: Directory) -> None:
    directory.append("workers.ini", "STATUS_MIN_INTERVAL = 400\n")
    assert directory.mistakes() == [
        "workers.ini:4: [global] STATUS_MIN_INTERVAL: STATUS_MAX_INTERVAL is less than STATUS_MIN_INTERVAL; "
        "raise the one or lower the other"
    ]
    directory.append("workers.ini", "STATUS_MAX_INTERVAL = 300\n")
    assert directory.mistakes() == [
        "workers.ini:5: [global] STATUS_MAX_INTERVAL: STATUS_MAX_INTERVAL is less than STATUS_MIN_INTERVAL; "
        "raise the one or lower the other"
    ]


def test_upload_chunk_size(directory: Directory) -> None:
    directory.append("workers.ini", "UPLOAD_CHUNK_SIZE = 2000\n")
    configuration = directory.load()
    assert configuration.limits.upload_chunk_size == 2000
    assert configuration.origins["limits.upload_chunk_size"].endswith(
        "workers.ini:4: [global] UPLOAD_CHUNK_SIZE"
    )
    directory.append("pseudoworker.toml", "[limits]\nupload_chunk_size = 3_000\n")
    assert directory.load().limits.upload_chunk_size == 3000


def test_assets(directory: Directory) -> None:
    directory.append("pseudoworker.toml", '[assets]\ntransport = "local"\n')
    assert directory.mistakes() == [
        "pseudoworker.toml:5: [assets] transport: transport 'local' needs factory_dir; "
        'add factory_dir = "/…" to [assets]'
    ]
    directory.append("pseudoworker.toml", 'factory_dir = "/factory"\nrepos = ["a*"]\n')
    assets = directory.load().assets
    assert (assets.factory_dir, assets.repos) == (Path("/factory"), ("a*",))
    directory.append("pseudoworker.toml", 'serve_url = "https://bridge.example.com/assets"\n')
    assert directory.load().assets.serve_url == "https://bridge.example.com/assets"
    directory.write("pseudoworker.toml", PSEUDOWORKER_TOML + '[assets]\nserve_url = "ftp://x"\n')
    assert directory.mistakes() == [
        "pseudoworker.toml:5: [assets] serve_url: 'ftp://x' does not begin with http:// or https://; "
        "write it like https://openqa.example.com"
    ]


def test_ca_files(directory: Directory) -> None:
    authority = directory.path / "ca.pem"
    directory.append(
        "pseudoworker.toml", f'ca_file = "{authority}"\n[master]\nca_file = "{directory.path}"\n'
    )
    assert directory.mistakes() == [
        f"pseudoworker.toml:6: [master] ca_file: {directory.path} is no file that can be read; "
        "give the PEM file of the authority",
        "pseudoworker.toml:4: [slave] ca_file: ca.pem is no file that can be read; "
        "give the PEM file of the authority",
    ]
    directory.write("ca.pem", "")
    directory.write("pseudoworker.toml", PSEUDOWORKER_TOML + f'ca_file = "{authority}"\n')
    assert directory.load().slave.ca_file == authority


good = {"workers.ini": WORKERS_INI, "pseudoworker.toml": PSEUDOWORKER_TOML, "client.conf": CLIENT_CONF}
texts = st.text(max_size=60).map(lambda text: text.encode()) | st.binary(max_size=60)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.dictionaries(st.sampled_from([*good, "pseudoworker.toml.d/a.toml"]), texts),
    overrides=st.builds(
        Overrides,
        instances=st.none() | st.text(max_size=12),
        host=st.none() | st.text(max_size=30),
        apikey=st.none() | st.text(max_size=5),
        slave=st.none() | st.text(max_size=30) | st.text(max_size=20).map("http://".__add__),
        on_stop=st.none() | st.text(max_size=5),
    ),
    environment=st.dictionaries(
        st.sampled_from(
            ["OPENQA_API_KEY", "STATE_DIRECTORY", "OPENQA_BASEDIR", "OPENQA_WORKER_STATUS_MIN_INTERVAL"]
        ),
        st.text(max_size=10),
    ),
)
def test_whatever_is_written_only_configuration_errors_come(
    contents: dict[str, bytes], overrides: Overrides, environment: dict[str, str], directory: Directory
) -> None:
    for name, content in good.items():
        directory.write(name, contents.get(name, content))
    directory.write("pseudoworker.toml.d/a.toml", contents.get("pseudoworker.toml.d/a.toml", b""))
    try:
        configuration = directory.load(overrides, **environment)
    except ConfigurationError as error:
        told = [str(mistake) for mistake in error.mistakes]
        if not told or not all(line.isprintable() for line in told):
            raise AssertionError(f"not told line by line: {told!r}") from error
    else:
        assert configuration.slots
        assert configuration.master.credentials
