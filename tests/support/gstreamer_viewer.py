"""A WHEP viewer on GStreamer's webrtcbin, which shares no code with the server: `gstreamer_viewer.py URL`.

A program for the system's Python, whose package python3-gi binds GStreamer. Prints the number of each picture that it
decodes, and `sound` with the first buffer of sound.
"""

from __future__ import annotations

import sys
import urllib.request
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

VIDEO = (
    "application/x-rtp,media=video,encoding-name=H264,payload=102,clock-rate=90000,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f"
)
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2"
SHOWN = "rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink sync=false"
HEARD = "rtpopusdepay ! opusdec ! appsink name=sink sync=false"


class Viewer:
    """One session, which lasts until the process is killed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pipeline = Gst.Pipeline.new("viewer")
        self.webrtc = Gst.ElementFactory.make("webrtcbin", "webrtc")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        for caps in (VIDEO, AUDIO):
            receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.webrtc.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
        self.webrtc.connect("on-negotiation-needed", self.offer)
        self.webrtc.connect("pad-added", self.play)
        self.pipeline.set_state(Gst.State.PLAYING)

    def offer(self, _: Any) -> None:
        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.send, None))

    def send(self, promise: Any, _: Any) -> None:
        promise.wait()
        reply = promise.get_reply()  # the offer's text lives in it
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, Gst.Promise.new())
        request = urllib.request.Request(
            self.url, offer.sdp.as_text().encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = response.read()
        _, message = GstSdp.SDPMessage.new_from_text(answer.decode())
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.webrtc.emit("set-remote-description", description, None)

    def play(self, _: Any, pad: Any) -> None:
        video = pad.get_current_caps().get_structure(0).get_string("media") == "video"
        branch = Gst.parse_bin_from_description(SHOWN if video else HEARD, True)
        sink = branch.get_by_name("sink")
        sink.set_property("emit-signals", True)
        sink.connect("new-sample", self.shown if video else self.heard)
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def shown(self, sink: Any) -> Any:
        data = sink.emit("pull-sample").get_buffer().extract_dup(0, 9 * 4096)
        width = sink.get_static_pad("sink").get_current_caps().get_structure(0).get_value("width")
        row = data[8 * (width + 3 & ~3) :]
        print(sum((row[bit * 16 + 8] > 128) << bit for bit in range(24)), flush=True)
        return Gst.FlowReturn.OK

    def heard(self, sink: Any) -> Any:
        sink.emit("pull-sample")
        sink.set_property("emit-signals", False)
        print("sound", flush=True)
        return Gst.FlowReturn.OK


if __name__ == "__main__":
    Gst.init(None)
    viewer = Viewer(sys.argv[1])
    GLib.MainLoop().run()
