import pytest

from pseudoworker.master.registration import (
    Capabilities,
    Identity,
    IncompatibleMaster,
    Registration,
    register,
)
from pseudoworker.openqa.errors import Garbage, Refused
from pseudoworker.openqa.json import Json
from tests.protocol.rooms.site import Said, client_of, serving

ROUTE = "POST /api/v1/workers"
IDENTITY = Identity(
    "bridge.example",
    7,
    ":lab:qemu_x86_64",
    Capabilities("x86_64", 2048, "A CPU", "32-bit, 64-bit", "fpu lm", 34),
    parallel_one_host_only=True,
)


@pytest.mark.parametrize(
    ("answer", "delta"),
    [
        ({"id": 5}, 2),
        ({"id": 5, "service_port_delta": 2}, 2),
        ({"id": 5, "service_port_delta": "2"}, 2),
        ({"id": 5, "service_port_delta": "0"}, 0),
        ({"id": "5", "service_port_delta": None}, 2),
        ({"id": 5, "service_port_delta": "odd"}, 2),
    ],
)
async def test_the_answers_of_all_releases(answer: Json, delta: int) -> None:
    async with serving({ROUTE: Said(answer)}) as site:
        with client_of(site) as client:
            assert await register(client, IDENTITY) == Registration(5, delta)


async def test_it_says_what_a_stock_worker_says() -> None:
    async with serving({ROUTE: Said({"id": 5})}) as site:
        with client_of(site) as client:
            await register(client, IDENTITY, [11, 12])
        assert dict(site.asked[0].form) == {
            "host": "bridge.example",
            "instance": "7",
            "websocket_api_version": "1",
            "isotovideo_interface_version": "34",
            "cpu_arch": "x86_64",
            "cpu_modelname": "A CPU",
            "cpu_opmode": "32-bit, 64-bit",
            "cpu_flags": "fpu lm",
            "mem_max": "2048",
            "worker_class": ":lab:qemu_x86_64",
            "parallel_one_host_only": "1",
            "job_id": "12",
        }
        assert [value for name, value in site.asked[0].form if name == "job_id"] == ["11", "12"]
        assert site.asked[0].headers["X-API-Key"] == "0123456789ABCDEF"


async def test_what_is_not_known_is_not_sent() -> None:
    async with serving({ROUTE: Said({"id": 5})}) as site:
        with client_of(site) as client:
            await register(client, Identity("h", 1, "c", Capabilities("x86_64", 1)))
        assert {name for name, _ in site.asked[0].form} == {
            "host",
            "instance",
            "websocket_api_version",
            "cpu_arch",
            "mem_max",
            "worker_class",
        }


async def test_another_protocol_is_told_clearly() -> None:
    said = Said({"error": "Incompatible websocket API version"}, 426)
    async with serving({ROUTE: said}) as site:
        with (
            client_of(site) as client,
            pytest.raises(IncompatibleMaster, match=r"127.0.0.1.*version 1 of.*Incompatible"),
        ):
            await register(client, IDENTITY)


async def test_another_refusal_stays_one() -> None:
    said = Said({"error": "Erroneous parameters (host missing)"}, 400)
    async with serving({ROUTE: said}) as site:
        with client_of(site) as client, pytest.raises(Refused, match="host missing"):
            await register(client, IDENTITY)
        assert len(site.asked) == 1


@pytest.mark.parametrize("answer", [{}, {"id": None}, {"id": "x"}, {"id": 0}, [], "OK"])
async def test_an_answer_without_an_id_is_garbage(answer: Json) -> None:
    async with serving({ROUTE: Said(answer)}) as site:
        with client_of(site) as client, pytest.raises(Garbage, match="/api/v1/workers"):
            await register(client, IDENTITY)
