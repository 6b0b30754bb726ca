"""A process that has a document read, names the process that did, and waits to be killed."""

import sys
import time

from engine.documents.contents import read_moment
from engine.documents.reading import ReadingProcess

with ReadingProcess() as process:
    for _ in process.read(sys.argv[1], read_moment(sys.argv[1])):
        pass
    print(process.pid, flush=True)
    time.sleep(600)
