"""A shop with Django: orders are committed with their jobs and tasks, and a quote is awaited from a job.

pip install django django-tasks                           (Django 6.0 and later has the tasks framework itself)
tenuto migrate && python manage.py migrate --run-syncdb
python manage.py runserver                                or gunicorn, with --preload or without
tenuto work shop.work                                     as many of these as you like

TENUTO_URL says which database: sqlite:///shop.db, or postgresql://… (then: pip install 'tenuto[postgres]').
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(sys.argv)
