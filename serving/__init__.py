"""A model server that speaks TensorFlow Serving's protocol, and clients of it.

`python -m serving` starts the server with `tensorflow_model_server`'s flags; `serving.client`
ranks slates on this server and on TensorFlow Serving alike. See docs/serving.md.
"""
