"""The only room that knows ONNX Runtime.

Its official builds since 1.29 carry an uploader that is switched on: they write a device id into
the home folder and send what runs where. It is switched off here, before the runtime is first
imported, by the only way that also keeps the id from being made: `disable_telemetry_events()`
comes too late.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251 - read by the runtime's own start.
