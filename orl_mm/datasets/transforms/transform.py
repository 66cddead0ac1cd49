import inspect

from mmcv.transforms import BaseTransform


class Transform(BaseTransform):
    """Base of the transforms, printed as ``Name(argument=value, ...)``.

    Shown are the arguments that the object keeps as attributes of the same name.
    """

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        arguments = ', '.join(f'{name}={getattr(self, name)!r}' for name in names)
        return f'{type(self).__name__}({arguments})'
