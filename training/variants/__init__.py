"""How the bundled miniatures of Fun-Control, Wan-Animate-2 and InfiniteTalk were made."""
