"""What a command of hcopt imports, and pytest, which a forked process looks at: see `Workplace.answer`."""

# ruff: noqa: F401
from __future__ import annotations

import os

# As hcopt sets it before it imports MLflow; a thread of MLflow's would not live on in a forked process.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import alembic.script
import altair
import boto3
import fontTools.subset
import mlflow
import mlflow.store.model_registry.dbmodels.models
import mlflow.store.tracking.dbmodels.models
import onnx
import pytest
import scipy.optimize
import typer._adapters

import hcopt.cli.app
import hcopt.config.load
import hcopt.job.batch
import hcopt.job.plan
