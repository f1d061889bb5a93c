"""`python -m tbscreen_training` is `tbscreen-training`."""

import sys

from tbscreen_training.cli import main

sys.exit(main())
