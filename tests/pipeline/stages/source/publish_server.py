"""An RTSP server that takes pushes, run by the system's Python, which has GStreamer.

It says two ports: cameras publish at the first (user `publisher`), and are read at the second (user
`undercam`), under the same path. Then it says `+NAME` when a camera begins, `-NAME` when it ends.
Arguments: the passwords of the two users, and the names of the paths.
"""

import socket
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

RTP = "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000"
TAKE = (
    "rtph264depay name=depay0 ! h264parse ! rtph264pay pt=96 config-interval=-1 "
    "! udpsink host=127.0.0.1 port={port} sync=false async=false"
)
GIVE = (
    f'udpsrc address=127.0.0.1 port={{port}} caps="{RTP}" ! rtph264depay ! h264parse '
    "! rtph264pay name=pay0 pt=96 config-interval=-1"
)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def server_for(user: str, password: str) -> GstRtspServer.RTSPServer:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", user)
    access = GstRtspServer.RTSPAuth()
    access.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    made = GstRtspServer.RTSPServer()
    made.set_address("127.0.0.1")
    made.set_service("0")
    made.set_auth(access)
    return made


def mount(
    server: GstRtspServer.RTSPServer, name: str, elements: str, user: str, takes: bool
) -> None:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {elements} )")
    factory.set_shared(not takes)
    if takes:
        factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    allowed = GstRtspServer.RTSPPermissions()
    for what in ("access", "construct"):
        allowed.add_permission_for_role(user, f"media.factory.{what}", True)
    factory.set_permissions(allowed)
    server.get_mount_points().add_factory(f"/{name}", factory)


def tell_publishers(server: GstRtspServer.RTSPServer) -> None:
    def begins(client: GstRtspServer.RTSPClient, context: GstRtspServer.RTSPContext) -> None:
        name = context.uri.abspath.strip("/").partition("/")[0]
        say(f"+{name}")
        client.connect("closed", lambda _: say(f"-{name}"))

    def comes(_: GstRtspServer.RTSPServer, client: GstRtspServer.RTSPClient) -> None:
        client.connect("record-request", begins)

    server.connect("client-connected", comes)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(publish_password: str, read_password: str, *names: str) -> None:
    Gst.init(None)
    takes = server_for("publisher", publish_password)
    gives = server_for("undercam", read_password)
    for name in names:
        port = free_port()
        mount(takes, name, TAKE.format(port=port), "publisher", takes=True)
        mount(gives, name, GIVE.format(port=port), "undercam", takes=False)
    tell_publishers(takes)
    for server in (takes, gives):
        server.attach(None)
        say(str(server.get_bound_port()))
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
