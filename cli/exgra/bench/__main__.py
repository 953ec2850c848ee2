"""The measuring process of `exgra bench`: one argument in JSON in, one document out."""

import json
import sys

from exgra.bench.run import document
from exgra.screen import say

if __name__ == "__main__":
    print(json.dumps(document(**json.loads(sys.argv[1]), say=say)))
