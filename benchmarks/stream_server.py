"""An RTSP server of looped films, run by the system's Python, which has GStreamer:
/usr/bin/python3 stream_server.py FILM... says its port, then serves FILM number n at /cam<n>.

Films are H.264 in Matroska, sent in real time from their start when a viewer comes, never decoded.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    """Serve until it is killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    mounts = server.get_mount_points()
    for number, film in enumerate(sys.argv[1:]):
        factory = GstRtspServer.RTSPMediaFactory()
        pay = "rtph264pay name=pay0 pt=96 config-interval=-1"
        factory.set_launch(f"( filesrc location={film} ! matroskademux ! h264parse ! {pay} )")
        mounts.add_factory(f"/cam{number}", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
