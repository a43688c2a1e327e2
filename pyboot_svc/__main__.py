import sys

from pyboot_svc.cli import main

sys.exit(main())
