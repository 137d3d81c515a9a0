"""An RTSP camera, run by the system's Python, which has GStreamer; it says its port, then serves.

/clip   a file of H.264 in Matroska, from its start when the first viewer comes, to its end
/live   a moving test picture; each time one is taken, its number and the milliseconds UTC are said
/stuck  H.264 whose time stamps do not move (--raw FILE)
/sound  no pictures at all

With --hang-up SECONDS it hangs up on each viewer so long after it began to play; with --tls FOLDER
it speaks RTSPS, by the certificate.pem and key.pem in there.
"""

import argparse
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROLE = "viewer"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def factory(elements: str, given: argparse.Namespace) -> GstRtspServer.RTSPMediaFactory:
    made = GstRtspServer.RTSPMediaFactory()
    made.set_shared(True)
    made.set_launch(f"( {elements} )")
    if given.user or given.tls:
        allowed = GstRtspServer.RTSPPermissions()
        for what in ("access", "construct"):
            allowed.add_permission_for_role(ROLE, f"media.factory.{what}", True)
        made.set_permissions(allowed)
    return made


def tell_taken(_factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
    taken = 0

    def tell(_pad: Gst.Pad, _info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        nonlocal taken
        say(f"{taken} {time.time_ns() // 1_000_000}")
        taken += 1
        return Gst.PadProbeReturn.OK

    pad = media.get_element().get_by_name("camera").get_static_pad("src")
    pad.add_probe(Gst.PadProbeType.BUFFER, tell)


def access(given: argparse.Namespace) -> GstRtspServer.RTSPAuth:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    made = GstRtspServer.RTSPAuth()
    if given.tls:
        names = (f"{given.tls}/{name}.pem" for name in ("certificate", "key"))
        made.set_tls_certificate(Gio.TlsCertificate.new_from_files(*names))
    if not given.user:
        made.set_default_token(token)
    elif given.digest:
        made.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        made.add_digest(given.user, given.password, token)
    else:
        basic = GstRtspServer.RTSPAuth.make_basic(given.user, given.password)
        made.add_basic(basic, token)
    return made


def hang_up_after(server: GstRtspServer.RTSPServer, seconds: float) -> None:
    def plays(client: GstRtspServer.RTSPClient, _context: GstRtspServer.RTSPContext) -> None:
        GLib.timeout_add(round(seconds * 1000), client.close)

    def comes(_server: GstRtspServer.RTSPServer, client: GstRtspServer.RTSPClient) -> None:
        client.connect("play-request", plays)

    server.connect("client-connected", comes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip")
    parser.add_argument("--raw", default="")
    parser.add_argument("--port", default="0")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--tls", default="")
    parser.add_argument("--hang-up", type=float, default=0)
    given = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(given.port)
    if given.user or given.tls:
        server.set_auth(access(given))
    pay = "rtph264pay name=pay0 pt=96 config-interval=-1"
    mounts = server.get_mount_points()
    clip = f"filesrc location={given.clip} ! matroskademux ! h264parse ! {pay}"
    mounts.add_factory("/clip", factory(clip, given))
    live = (
        "videotestsrc name=camera is-live=true ! video/x-raw,width=128,height=96,framerate=25/1 "
        f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! {pay}"
    )
    made = factory(live, given)
    made.connect("media-configure", tell_taken)
    mounts.add_factory("/live", made)
    stuck = f"multifilesrc location={given.raw} loop=true ! h264parse ! {pay}"
    mounts.add_factory("/stuck", factory(stuck, given))
    sound = "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0"
    mounts.add_factory("/sound", factory(sound, given))
    server.attach(None)
    if given.hang_up:
        hang_up_after(server, given.hang_up)
    say(str(server.get_bound_port()))
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
