"""The pipeline on Kubeflow Pipelines and Vertex AI; `pipeline.kubeflow_runner` compiles it.

TFX compiles for the engine of Vertex AI. Kubeflow's own engine reads the same specification, but
has no resolvers, runs no drivers, hands inputs over without their types, and keeps artifacts where
TensorFlow cannot read. What is here makes the compiled pipeline run on both.
"""
