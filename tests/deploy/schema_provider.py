"""A Terraform provider that knows a schema and nothing else: enough for ``validate``, and for ``test`` with mocks.

It speaks version 5 of Terraform's plugin protocol (tfplugin5.proto) on a Unix socket. That a value is of the right type,
and that nothing needed is missing, Terraform finds itself; that what only the provider sets is left alone, it leaves to
providers, and so it is looked at here.

    schema_provider.py SCHEMA.json SOCKET
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import msgpack

NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}


def field(number, value):
    """One field of a protocol buffer: a message, a text or a number; 0 is left out, as proto3 does."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def varint(value):
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(schema):
    """``Schema.Block``, from the form of ``terraform providers schema -json``."""
    out = b""
    for name, about in sorted(schema["attributes"].items()):
        flags = ((4, "required"), (5, "optional"), (6, "computed"))
        flags = b"".join(field(number, int(about.get(flag, False))) for number, flag in flags)
        out += field(2, field(1, name) + field(2, json.dumps(about["type"])) + flags)
    for name, about in sorted(schema["block_types"].items()):
        nested = field(1, name) + field(2, block(about["block"])) + field(3, NESTING[about["nesting_mode"]])
        out += field(3, nested + field(4, about["min_items"]) + field(5, about["max_items"]))
    return out


def response(schemas):
    """``GetProviderSchema.Response``."""
    out = field(1, field(2, block(schemas["provider"]["block"])))
    for number, kind in ((2, "resource_schemas"), (3, "data_source_schemas")):
        for name, schema in sorted(schemas[kind].items()):
            out += field(number, field(1, name) + field(2, field(2, block(schema["block"]))))
    return out


def unconfigurable(schemas, asked):
    """``ValidateResourceTypeConfig.Response``: an error for each value that only the provider sets."""
    asked = fields(asked)
    schema = schemas[asked[1].decode()]["block"]["attributes"]
    values = msgpack.unpackb(fields(asked[2])[1], ext_hook=lambda _code, _raw: "unknown")
    out = b""
    for name, value in values.items():
        about = schema.get(name)
        if about is not None and value is not None and not (about.get("required") or about.get("optional")):
            detail = f"{name} can't be given: it is decided by the provider."
            out += field(1, field(1, 1) + field(2, "Value for unconfigurable attribute") + field(3, detail))
    return out


def fields(message):
    """The fields of a message that holds nothing but messages and texts, by number."""
    found, at = {}, 0
    while at < len(message):
        tag, at = read_varint(message, at)
        length, at = read_varint(message, at)
        found[tag >> 3] = message[at : at + length]
        at += length
    return found


def read_varint(message, at):
    """The number at ``at``, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


class Provider(grpc.GenericRpcHandler):
    """Answers what ``validate`` asks. A prepared configuration has the same encoding as the one asked about."""

    def __init__(self, schemas):
        schema = response(schemas)
        self._answers = {
            "GetSchema": lambda _asked: schema,
            "PrepareProviderConfig": lambda asked: asked,
            "ValidateResourceTypeConfig": lambda asked: unconfigurable(schemas["resource_schemas"], asked),
            "ValidateDataSourceConfig": lambda asked: unconfigurable(schemas["data_source_schemas"], asked),
            "Stop": lambda _asked: b"",
        }

    def service(self, call):
        """None, which is "unimplemented", for all that needs a real provider."""
        _, service, method = call.method.split("/")
        answer = self._answers.get(method) if service == "tfplugin5.Provider" else None
        if answer is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda asked, _context: answer(asked))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([Provider(schemas)])
    server.add_insecure_port(f"unix:{sys.argv[2]}")
    server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


main()
