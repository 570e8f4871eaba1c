"""Wan-Animate: a person of a picture follows the poses and the face of a video.

The video has a latent frame of the reference picture before it, which no pose is added to and no face looks at.
"""
